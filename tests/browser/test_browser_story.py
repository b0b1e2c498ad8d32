"""The main story in a real browser: log in, start, run a cell, open a terminal, stop, log out."""

import re

from playwright.async_api import Page, expect

from perijove.testing import run_hub, until
from perijove.testing.chromium import PATIENCE_MS, run_cell


async def test_a_person_logs_in_runs_a_cell_opens_a_terminal_stops_and_logs_out(page, configure, enter, tmp_path):
    """From the URL to a result and back out, with nothing but a browser."""
    async with run_hub(configure()) as hub:
        await enter(page, hub.url)
        await expect(page.get_by_role("heading", name="Default server")).to_contain_text("Stopped")
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("progressbar")).to_be_visible()
        await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        await page.wait_for_url("**/user/ada/lab**", timeout=PATIENCE_MS)
        await run_cell(page)
        await write_in_terminal(page, tmp_path / "said")
        await page.goto(f"{hub.url}hub/home")
        await expect(page.get_by_role("heading", name="Default server")).to_contain_text("Running")
        await page.get_by_role("button", name="Stop").click()
        # The list refreshes itself: nobody reloads the page.
        await expect(page.get_by_role("heading", name="Default server")).to_contain_text("Stopped", timeout=30_000)
        await until(lambda: not hub.user_processes())
        await page.get_by_role("link", name="Log out").click()
        await page.wait_for_url("**/hub/login")
        await page.goto(f"{hub.url}hub/home")
        await expect(page).to_have_url(re.compile(r"/hub/login\?next="))


async def write_in_terminal(page: Page, path) -> None:
    """A terminal's text is painted, not in the page, so what is typed in it leaves a file."""
    await page.locator(".lm-MenuBar-itemLabel:text-is('File')").click()
    await page.locator(".lm-Menu-itemLabel:text-is('New')").hover()
    await page.locator(".lm-Menu-itemLabel:text-is('Terminal')").click()
    terminal = page.locator(".jp-Terminal .xterm")
    await expect(terminal).to_be_visible(timeout=PATIENCE_MS)
    await terminal.click()
    await page.keyboard.type(f"echo six times seven is $((6*7)) > {path}\n")
    await until(lambda: path.exists() and path.read_text() == "six times seven is 42\n", seconds=30)
