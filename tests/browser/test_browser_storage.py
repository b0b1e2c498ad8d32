"""The storage part of the admin page in a real browser: loaded when opened, deleted after a question."""

import os
from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import expect

from perijove.domain.ports import Volume
from perijove.services.users import create_users
from perijove.testing.fake_spawner import FakeStorage
from perijove.testing.inside import hub_inside

# Read when this is imported: the suite takes every PERIJOVE_ variable out of its environment.
PICTURES = os.environ.get("PERIJOVE_TEST_PICTURES", "")
FREE, HELD = "claim-miksch-40win-2edtu-2edk", "claim-miksch-win-dtu-dk---0d9c1a2b--gpu"


def volume(name, **facts):
    made = datetime(2026, 1, 2, tzinfo=UTC)
    return Volume(name=name, uid=name, size="10Gi", phase="Bound", storage_class="standard", created=made, **facts)


async def picture(page, name):
    """For whoever changes how it looks: with PERIJOVE_TEST_PICTURES, a directory."""
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


async def test_a_users_volumes_open_in_the_list_and_go_after_a_question(page, tmp_path, enter):
    user = "miksch@win.dtu.dk"
    async with hub_inside(tmp_path, redirect_to_server=False) as inside:
        await create_users(inside.hub, [user], actor="test")
        inside.spawners.storage = FakeStorage()
        holder = f"pod {HELD.replace('claim', 'jupyter')} (Running)"
        inside.spawners.storage.kept[user] = [volume(FREE), volume(HELD, used_by=(holder,), servers=("gpu",))]
        await enter(page, inside.url, "admin")
        await page.goto(f"{inside.url}hub/admin")
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=user))
        await row.get_by_text("Storage").click()
        await expect(row.get_by_text(FREE)).to_be_visible()
        await expect(row.get_by_text(f"Used by {holder}")).to_be_visible()
        await picture(page, "storage")
        await page.set_viewport_size({"width": 390, "height": 844})
        await expect(row.get_by_role("button", name="Delete volume")).to_be_visible()
        wide = await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide
        await picture(page, "storage-phone")
        questions = []

        async def answer(dialog):
            questions.append(dialog.message)
            await dialog.accept()

        page.on("dialog", answer)
        await row.get_by_role("button", name="Delete volume").click()
        await page.wait_for_url("**/hub/admin/storage/**")
        await picture(page, "storage-page-phone")
        await expect(page.get_by_text(HELD)).to_be_visible()
        await expect(page.get_by_text(FREE)).to_have_count(0)
        assert "with all files in it" in questions[0]
