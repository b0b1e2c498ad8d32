"""Headless Chromium, and what people do in it: log in, run a cell."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright, expect

# Loading JupyterLab for the first time, on a slow machine.
PATIENCE_MS = 120_000
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def open_chromium(*arguments: str) -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    assert path is not None, "Chromium is needed for these tests: scripts/system-packages test"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*_ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            await browser.close()


async def log_in(page: Page, url: str, user: str = "ada") -> None:
    """From any address of a hub whose login takes any password, to the user's home page."""
    await page.goto(url)
    await page.get_by_label("Username").fill(user)
    await page.get_by_label("Password", exact=True).fill("anything")
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/hub/home")


async def run_cell(page: Page) -> None:
    """`1+1` in a new notebook of JupyterLab: the kernel's answer comes over the websocket."""
    await page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click(timeout=PATIENCE_MS)
    # JupyterLab drops, without a word, a cell that is run before its kernel is there.
    await expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=PATIENCE_MS)
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    await cell.click(timeout=PATIENCE_MS)
    await page.keyboard.type("1+1")
    await page.keyboard.press("Shift+Enter")
    await expect(page.locator(".jp-OutputArea-output").first).to_have_text(
        re.compile(r"^\s*2\s*$"), timeout=PATIENCE_MS
    )
