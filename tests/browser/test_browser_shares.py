"""Sharing a server, and the admin pages of roles and the audit trail, as people do it in a browser."""

import sys
from pathlib import Path

import pytest_asyncio
from playwright.async_api import expect

from perijove.testing import run_hub
from perijove.testing.hub import OPEN

SMALL_SERVER = Path(__file__).parents[1] / "contract" / "small_server.py"
PHONE = {"width": 390, "height": 844}
ROLES = {"sharers": {"scopes": ["shares!user", "read:users:name", "read:groups:name"], "users": ["ada"]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub():
    """Anybody may log in, and ada may share; servers start in a moment and say hello."""
    classes = {**OPEN["hub"]["config"], "Spawner": {"args": []}}
    config = {
        "hub": {"config": classes, "redirectToServer": False, "loadRoles": ROLES},
        "singleuser": {"cmd": [sys.executable, str(SMALL_SERVER)]},
    }
    async with run_hub(config) as running:
        yield running


async def fits(page):
    """Nothing reaches over the edge of the window."""
    return await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def test_a_link_given_out_opens_the_server_until_sharing_is_stopped(chromium, page, hub, enter):
    """Ada shares her server by a link; Ben opens it, accepts, and is in; once she stops sharing, he is out."""
    assert (await hub.api("POST", "/users/ada/server"))[0] in (201, 202)
    await enter(page, hub.url, "ada")
    await page.get_by_role("link", name="Share").click()
    await page.get_by_role("button", name="Make a link").click()
    link = await page.locator("#new-link").input_value()
    assert link.startswith(f"{hub.url}hub/accept-share?code=")

    # Without scripts, as everything has to work.
    other = await chromium.new_context(viewport=PHONE, java_script_enabled=False)
    ben = await other.new_page()
    await enter(ben, hub.url, "ben")
    await ben.goto(link)
    await expect(ben.get_by_role("heading")).to_have_text("ada shares a server with you")
    await ben.get_by_role("button", name="Accept").click()
    await expect(ben).to_have_url(f"{hub.url}user/ada/")
    await expect(ben.locator("body")).to_have_text("hello")
    await ben.goto(f"{hub.url}hub/home")
    await ben.get_by_role("link", name="Open Default server of ada").click()
    await expect(ben.locator("body")).to_have_text("hello")

    await page.set_viewport_size(PHONE)
    await page.goto(f"{hub.url}hub/share/ada")
    await expect(page.get_by_role("heading", name="ben")).to_be_visible()
    assert await fits(page)
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Stop sharing").click()
    await expect(page.get_by_text("Nobody yet.")).to_be_visible()
    await ben.goto(f"{hub.url}hub/home")
    await expect(ben.get_by_text("Shared with you")).to_have_count(0)
    assert (await ben.goto(link)).status == 404
    await other.close()


async def test_an_admin_puts_a_role_together_from_the_reference(page, hub, enter):
    """Scopes are added with a click; the trail says who made the role. On a phone every admin page fits."""
    await enter(page, hub.url, "admin")
    await page.get_by_role("link", name="Admin", exact=True).click()
    await page.get_by_role("link", name="Roles").click()
    await page.get_by_role("link", name="New role").click()
    await page.get_by_label("Name", exact=True).fill("watchers")
    await page.get_by_label("Description").fill("See what goes on")
    for scope in ("read:hub", "list:users", "read:hub"):
        await page.get_by_role("button", name=f"Add {scope}", exact=True).click()
    await page.get_by_role("button", name="Create role").click()
    await expect(page.get_by_role("heading", name="Role watchers")).to_be_visible()
    await expect(page.get_by_label("Scopes", exact=True)).to_have_value("read:hub\nlist:users")
    await page.get_by_label("Names, separated by commas").fill("nobody")
    await page.get_by_role("button", name="Give role").click()
    await expect(page.get_by_role("alert")).to_have_text("No such user: nobody")

    await page.get_by_role("link", name="Audit trail").click()
    await page.get_by_label("Did what").fill("role.*")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_role("cell", name="role.create")).to_be_visible()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Export CSV").click()
    assert (await download.value).suggested_filename == "audit.csv"

    await page.set_viewport_size(PHONE)
    for path in ("", "/groups", "/roles", "/roles/watchers", "/new-role", "/services", "/audit"):
        await page.goto(f"{hub.url}hub/admin{path}")
        assert await fits(page), path
