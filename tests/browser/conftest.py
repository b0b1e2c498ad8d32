"""Headless Chromium, and hubs to point it at."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from perijove.testing.chromium import log_in, open_chromium
from perijove.testing.hub import OPEN

SMALL_SERVER = Path(__file__).parents[1] / "contract" / "small_server.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with open_chromium() as browser:
        yield browser


@pytest.fixture
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """One person's browser. Scripts, styles or frames that the policy stops fail the test."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 800})
    violations: list[str] = []
    context.on(
        "console", lambda message: violations.append(message.text) if "Security Policy" in message.text else None
    )
    yield context
    await context.close()
    assert violations == []


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Mapping[str, Any]]:
    """Anybody may log in; home is the first page. JupyterLab, unless `cmd` says otherwise.

    People get homes of this test alone: JupyterLab opens again what it had open last time.
    """
    hub = OPEN["hub"]
    homes = {"home_dir_template": str(tmp_path / "homes" / "{username}")}

    def config(**singleuser: Any) -> Mapping[str, Any]:
        # The single-user server does not start as root without being told; containers often run tests as root.
        arguments = ["--allow-root"] if os.geteuid() == 0 and "cmd" not in singleuser else []
        classes = {**hub["config"], "Spawner": {"args": arguments}, "SimpleLocalProcessSpawner": homes}
        return {
            "hub": {**hub, "redirectToServer": False, "allowNamedServers": True, "config": classes},
            "singleuser": singleuser,
        }

    return config


@pytest.fixture
def small(configure: Callable[..., Mapping[str, Any]]) -> Mapping[str, Any]:
    """Servers that start in a moment and say hello."""
    return configure(cmd=[sys.executable, str(SMALL_SERVER)])


@pytest.fixture
def enter() -> Callable[..., Any]:
    """`await enter(page, url, user)`: through the login form to the home page."""
    return log_in
