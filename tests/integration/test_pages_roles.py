"""Roles and groups in the admin pages: who sees them, what is changed there, and why the rest is not."""

import html

import pytest
import pytest_asyncio

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.services import audit_trail
from perijove.services.audit_trail import AuditQuery
from perijove.testing.api import ApiClient
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "root-token"
ROLES = (
    RoleOptions(name="graders", description="Look in", scopes=("read:users!group=crew",), groups=("crew",)),
    # Sees the admin pages, and makes roles of the little that they hold.
    RoleOptions(
        name="deputies",
        scopes=("admin-ui", "admin:roles", "list:groups!group=crew", "groups!group=crew"),
        users=("dan",),
    ),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(ServiceOptions(name="root", api_token=ROOT, admin=True),),
        load_roles=ROLES,
        redirect_to_server=False,
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["ben", "eve"]})
            await root("POST", "/groups/crew/users", {"users": ["eve"]})
            await root("POST", "/groups/others", {"users": ["ben"]})
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(inside):
    async with inside.browser() as browser:
        await browser.log_in("admin", "x")
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deputy(inside):
    async with inside.browser() as browser:
        await browser.log_in("dan", "x")
        yield browser


async def send(browser, path, **fields):
    _, page = await browser.get("hub/token")
    response, page = await browser.post(path, {"_xsrf": xsrf_of(page), **fields})
    return response.status, html.unescape(page)


async def test_a_role_is_made_given_changed_and_deleted(inside, admin, root):
    """What it allows holds at once, and each step is in the audit trail."""
    status, page = await send(
        admin, "hub/admin/new-role", name="readers", description="d", scopes="read:hub\nlist:users"
    )
    assert (status, "Role readers" in page) == (200, True)
    await send(admin, "hub/admin/roles/readers", action="assign", kind="user", names="ben, eve")
    await send(admin, "hub/admin/roles/readers", action="assign", kind="group", names="crew")
    model = (await root("GET", "/roles/readers")).json
    assert (model["scopes"], model["user_count"], model["groups"]) == (["read:hub", "list:users"], 2, ["crew"])
    token = (await root("POST", "/users/ben/tokens", {})).json["token"]
    async with ApiClient(inside.url, token) as ben:
        assert (await ben("GET", "/info")).status == 200
        await send(admin, "hub/admin/roles/readers", action="unassign", kind="user", names="ben")
        assert (await ben("GET", "/info")).status == 403
    await send(admin, "hub/admin/roles/readers", action="edit", description="e", scopes="read:metrics")
    assert (await root("GET", "/roles/readers")).json["scopes"] == ["read:metrics"]
    status, page = await send(admin, "hub/admin/roles/readers", action="delete")
    assert (status, "readers" in page) == (200, False)
    lines, _ = await audit_trail.read_page(inside.hub, AuditQuery(actor="admin", subject="readers"))
    told = ["role.delete", "role.change", "role.unassign", "role.assign", "role.assign", "role.create"]
    assert [line.action for line in lines] == told


@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        ("new-role", {"name": "X", "scopes": "read:hub"}, "role name"),
        ("new-role", {"name": "good-name", "scopes": "read:nothing"}, "does not exist"),
        ("new-role", {"name": "graders", "scopes": "read:hub"}, "already exists"),
        ("roles/graders", {"action": "edit", "scopes": "read:hub"}, "comes from the configuration"),
        ("roles/user", {"action": "delete"}, "is a default role"),
        ("roles/graders", {"action": "assign", "kind": "group", "names": "others"}, "lists the groups"),
        ("roles/graders", {"action": "assign", "kind": "user", "names": "nobody"}, "No such user: nobody"),
        ("roles/graders", {"action": "assign", "kind": "user", "names": " "}, "Name at least one"),
        ("roles/admin", {"action": "unassign", "kind": "user", "names": "admin"}, "from yourself"),
        ("roles/graders", {"action": "dance"}, "Unknown action"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_reason(admin, path, fields, reason):
    status, page = await send(admin, f"hub/admin/{path}", **fields)
    assert status == 400
    assert reason in page


async def test_nobody_grants_more_than_they_hold(deputy, root):
    """A deputy makes roles of their own scopes; for more, the form comes back with what was typed and the reason."""
    status, page = await send(deputy, "hub/admin/new-role", name="too-much", scopes="admin:users\ngroups!group=crew")
    assert status == 400
    assert "admin:users" in page
    assert "not yours to grant" in page
    assert "groups!group=crew</textarea>" in page
    assert (await root("GET", "/roles/too-much")).status == 404
    status, _ = await send(deputy, "hub/admin/new-role", name="crew-readers", scopes="read:groups!group=crew")
    assert status == 200
    status, page = await send(deputy, "hub/admin/roles/admin", action="assign", kind="user", names="dan")
    assert (status, "Only admins may make admins" in page) == (400, True)
    await root("DELETE", "/roles/crew-readers")


async def test_roles_of_the_configuration_are_shown_without_a_form(admin):
    for name, source in (("graders", "From the configuration"), ("user", "A default role")):
        _, page = await admin.get(f"hub/admin/roles/{name}")
        assert source in page
        assert 'name="scopes"' not in page
        assert "Delete role" not in page


@pytest.mark.parametrize("path", ["groups", "roles", "roles/graders", "new-role", "services", "audit", "audit/export"])
async def test_who_has_not_the_admin_pages_gets_none_of_them(inside, path):
    async with inside.browser() as ben:
        await ben.log_in("ben", "x")
        response, _ = await ben.get(f"hub/admin/{path}")
        assert response.status == 403


async def test_a_deputy_sees_the_sections_that_have_something_for_them(deputy):
    _, page = await deputy.get("hub/admin/roles")
    assert 'href="/hub/admin/groups"' in page
    for absent in ("/hub/admin/audit", "/hub/admin/services"):
        assert f'href="{absent}"' not in page
        response, _ = await deputy.get(absent)
        assert response.status == 403


async def test_a_group_is_made_filled_emptied_and_deleted(admin):
    """Whatever an identity provider calls it: names with slashes have pages, too."""
    status, page = await send(admin, "hub/admin/groups", name="physics 1/2")
    assert (status, "Group physics 1/2" in page) == (200, True)
    path = "hub/admin/groups/physics%201%2F2"
    await send(admin, path, action="add", names="ben\neve")
    _, page = await admin.get(path)
    assert "2 members" in page
    await send(admin, path, action="remove", names="ben")
    _, page = await admin.get(path)
    assert "1 member" in page
    status, page = await send(admin, path, action="add", names="nobody-such")
    assert (status, "nobody-such" in page) == (400, True)
    await send(admin, path, action="delete")
    assert (await admin.get(path))[0].status == 404


async def test_filtered_scopes_show_and_change_only_their_groups(deputy, root):
    _, page = await deputy.get("hub/admin/groups")
    assert "/hub/admin/groups/crew" in page
    assert "/hub/admin/groups/others" not in page
    assert "Add a group" not in page
    assert (await deputy.get("hub/admin/groups/others"))[0].status == 404
    status, _ = await send(deputy, "hub/admin/groups/others", action="add", names="dan")
    assert status == 404
    status, _ = await send(deputy, "hub/admin/groups/crew", action="add", names="ben")
    assert status == 200
    status, _ = await send(deputy, "hub/admin/groups/crew", action="delete")
    assert status == 403
    assert set((await root("GET", "/groups/crew")).json["users"]) == {"eve", "ben"}


async def test_forms_without_their_proof_change_nothing(admin, root):
    for path, form in (
        ("new-role", {"name": "forged", "scopes": "read:hub"}),
        ("groups", {"name": "forged"}),
        ("roles/graders", {"action": "assign", "kind": "user", "names": "ben"}),
        ("groups/crew", {"action": "delete"}),
    ):
        response, _ = await admin.post(f"hub/admin/{path}", form)
        assert response.status == 403
    assert (await root("GET", "/roles/forged")).status == 404
    assert (await root("GET", "/groups/crew")).status == 200
