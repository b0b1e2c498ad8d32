"""Users' volumes on the admin page and in the REST API, over a spawner whose volumes the test makes up."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from perijove.domain.ports import Volume
from perijove.services.servers import request_start
from perijove.services.tokens import create_token
from perijove.services.users import create_users
from perijove.store.schema import audit
from perijove.testing.browser import xsrf_of
from perijove.testing.fake_spawner import FakeStorage
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

CLAIM = "claim-ann-40x"


def volume(name=CLAIM, uid="u1", **facts):
    made = datetime(2026, 1, 2, tzinfo=UTC)
    return Volume(name=name, uid=uid, namespace="jhub", size="10Gi", phase="Bound", created=made, **facts)


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(tmp_path, redirect_to_server=False) as hub:
        await create_users(hub.hub, ["ann"], actor="test")
        hub.spawners.storage = FakeStorage()
        hub.spawners.storage.kept["ann"] = [volume(servers=("",))]
        yield hub


@pytest.fixture
async def admin(inside):
    async with inside.browser() as browser:
        await browser.log_in("admin", "x")
        yield browser


async def trail(inside):
    async with inside.hub.store.read() as connection:
        found = await connection.execute(select(audit).where(audit.c.action == "volume.delete"))
        return [(row.actor, row.subject, row.data["volume"], row.data["uid"]) for row in found]


async def delete(browser, uid="u1", **options):
    _, page = await browser.get("hub/admin")
    form = {"_xsrf": xsrf_of(page), "volume": CLAIM, "uid": uid}
    return await browser.post("hub/admin/storage/ann/delete", form, **options)


async def test_the_admin_page_asks_for_nobodys_volumes_until_they_are_opened(inside, admin):
    inside.spawners.storage.volumes = None  # a call would fail
    _, page = await admin.get("hub/admin")
    assert 'hx-get="/hub/admin/storage/ann"' in page
    assert CLAIM not in page


async def test_a_users_volumes_are_shown_in_part_and_as_a_page(admin):
    _, part = await admin.get("hub/admin/storage/ann", headers={"HX-Request": "true"})
    assert CLAIM in part
    assert "10Gi, Bound" in part
    assert "Not in use" in part
    assert "<html" not in part
    _, page = await admin.get("hub/admin/storage/ann")
    assert "Storage of ann" in page
    assert CLAIM in page


async def test_a_volume_is_deleted_once_and_that_is_on_record(inside, admin):
    _, page = await delete(admin)
    assert CLAIM not in page
    assert inside.spawners.storage.kept["ann"] == []
    assert await trail(inside) == [("admin", "ann", CLAIM, "u1")]


async def test_a_volume_in_use_stays_and_the_page_says_what_holds_it(inside, admin):
    inside.spawners.storage.kept["ann"] = [volume(used_by=("pod jupyter-ann (Running)",))]
    response, page = await delete(admin)
    assert response.status == 409
    assert "it is held by pod jupyter-ann (Running)" in page
    assert inside.spawners.storage.kept["ann"]
    assert await trail(inside) == []


async def test_a_volume_of_a_server_that_starts_stays_although_no_pod_holds_it_yet(inside, admin):
    await request_start(inside.hub, user="ann", actor="test")
    await until(inside.world.alive)
    response, page = await delete(admin)
    assert response.status == 409
    assert "a server that uses it is not stopped" in page


async def test_a_volume_that_came_after_the_one_that_was_looked_at_stays(inside, admin):
    assert (await delete(admin, uid="another"))[0].status == 409
    assert inside.spawners.storage.kept["ann"]


async def test_a_volume_that_holds_files_of_others_is_never_deleted(inside, admin):
    inside.spawners.storage.kept["ann"] = [volume(shared=True)]
    assert (await delete(admin))[0].status == 409
    assert inside.spawners.storage.kept["ann"]


async def test_deleting_needs_the_forms_own_proof(inside, admin):
    response, _ = await admin.post("hub/admin/storage/ann/delete", {"volume": CLAIM, "_xsrf": "no"})
    assert response.status == 403
    assert inside.spawners.storage.kept["ann"]


async def test_users_see_nothing_of_it(inside):
    async with inside.browser() as ann:
        await ann.log_in("ann", "x")
        assert (await ann.get("hub/admin/storage/ann"))[0].status == 403


async def test_a_hub_whose_servers_have_no_volumes_offers_none(inside, admin):
    inside.spawners.storage = None
    _, page = await admin.get("hub/admin")
    assert "admin/storage" not in page
    assert (await admin.get("hub/admin/storage/ann"))[0].status == 404


async def test_scripts_read_and_delete_volumes_with_the_scopes_for_it(inside):
    """A user's own token reads; deleting needs `admin:servers`, which users have not even for themselves."""
    tokens = {}
    for user in ("admin", "ann"):
        tokens[user] = (await create_token(inside.hub, user, note="script", actor=user)).token
    path = "hub/api/users/ann/storage"
    async with inside.browser() as script:
        mine = {"Authorization": f"token {tokens['ann']}"}
        async with script.session.get(script.url / path, headers=mine) as response:
            [found] = await response.json()
        assert found["name"] == CLAIM
        assert found["obstacle"] is None
        async with script.session.delete(script.url / f"{path}/{CLAIM}", headers=mine) as response:
            assert response.status == 403
        all_of_it = {"Authorization": f"token {tokens['admin']}"}
        for expected in (202, 404):
            url = (script.url / path / CLAIM).with_query(uid="u1")
            async with script.session.delete(url, headers=all_of_it) as response:
                assert response.status == expected
    assert inside.spawners.storage.kept["ann"] == []
