"""A stock JupyterHub runs with our proxy in the place of configurable-http-proxy, and a person notices nothing."""

import re
import sys

import pytest
from playwright.async_api import expect

from perijove.testing.stock_hub import stock_hub
from perijove.testing.waiting import until

# Loading JupyterLab for the first time, on a slow machine.
PATIENCE_MS = 120_000
OURS = [sys.executable, "-P", "-m", "perijove.cli.chp"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stock_hub_with_our_proxy_serves_a_notebook(page, tmp_path, workers):
    """Log in, start, run a cell over the websocket, stop; routes come and go by the REST API."""
    async with stock_hub(tmp_path, [*OURS, "--workers", str(workers)]) as hub:
        await page.goto(hub.url)
        await page.get_by_label("Username").fill("ada")
        await page.get_by_label("Password").fill("anything")
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url("**/user/ada/lab**", timeout=PATIENCE_MS)
        await page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click(timeout=PATIENCE_MS)
        await expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=PATIENCE_MS)
        cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
        await cell.click(timeout=PATIENCE_MS)
        await page.keyboard.type("6*7")
        await page.keyboard.press("Shift+Enter")
        output = page.locator(".jp-OutputArea-output").first
        await expect(output).to_have_text(re.compile(r"^\s*42\s*$"), timeout=PATIENCE_MS)
        routes = await hub.routes()
        assert routes["/user/ada"]["user"] == "ada"
        assert routes["/user/ada"]["last_activity"] > "2026"
        assert routes["/"]["jupyterhub"] is True
        await page.goto(f"{hub.url}hub/home")
        await page.get_by_role("button", name="Stop My Server").click()
        await until(lambda: _gone(hub), seconds=30)
        assert "Adding missing route" not in hub.log
        assert "Deleting stale route" not in hub.log


async def _gone(hub):
    return "/user/ada" not in await hub.routes()
