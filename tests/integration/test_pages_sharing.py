"""Sharing a server in the pages: who may, with whom, by name and by link, and how it ends."""

import html
import re

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
ACCESS = "access:servers!server=ann/"
ROLES = (
    RoleOptions(name="sharers", scopes=("shares!user", "read:users:name", "read:groups:name"), users=("ann",)),
    # May share, and may know nobody's name.
    RoleOptions(name="link-sharers", scopes=("shares!user",), users=("kim",)),
    # Shares for another.
    RoleOptions(name="deputies", scopes=("shares!user=ann", "access:servers!user=ann"), users=("dee",)),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(ServiceOptions(name="root", api_token=ROOT, admin=True),),
        load_roles=ROLES,
        allow_named_servers=True,
        redirect_to_server=False,
    ) as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        await client("POST", "/users", {"usernames": ["ben", "eve"]})
        await client("POST", "/groups/crew", {"users": ["eve"]})
        yield client
        await client("DELETE", "/shares/ann/")
        await client("DELETE", "/share-codes/ann/")


@pytest_asyncio.fixture(loop_scope="module")
async def enter(inside, root):
    browsers = []

    async def make(name):
        browser = inside.browser()
        await browser.__aenter__()
        browsers.append(browser)
        await browser.log_in(name, "x")
        return browser

    yield make
    for browser in browsers:
        await browser.__aexit__(None, None, None)


async def send(browser, fields, path="hub/share/ann", page="hub/home", **options):
    _, shown = await browser.get(page)
    return await browser.post(path, {"_xsrf": xsrf_of(shown), **fields}, **options)


async def test_a_server_is_shared_with_a_user_and_a_group_and_each_is_revoked(enter, root):
    """The home page of whoever it is shared with says so, with a way out for those named themselves."""
    ann, ben, eve = await enter("ann"), await enter("ben"), await enter("eve")
    _, page = await ann.get("hub/home")
    assert 'href="/hub/share/ann"' in page
    for kind, name in (("user", "ben"), ("group", "crew")):
        response, page = await send(ann, {"action": "grant", "kind": kind, "name": name})
        assert response.status == 200, page
    assert {share["kind"] for share in (await root("GET", "/shares/ann")).json["items"]} == {"user", "group"}
    assert "Revoke access of ben" in page
    assert "Revoke access of crew" in page
    _, page = await ben.get("hub/home")
    assert "Default server of ann" in page
    assert "Leave Default server of ann" in page
    _, page = await eve.get("hub/home")
    assert "through the group crew" in page
    assert "Leave Default server" not in page
    await send(ann, {"action": "revoke", "kind": "group", "name": "crew"})
    await send(ben, {"owner": "ann", "server": ""}, "hub/leave-share")
    assert (await root("GET", "/shares/ann")).json["items"] == []


@pytest.mark.parametrize(
    ("name", "words"), [("ann", "Share your default server"), ("dee", "Share ann’s default server")]
)
async def test_the_page_says_whose_server_is_shared_in_its_readers_words(enter, name, words):
    _, page = await (await enter(name)).get("hub/share/ann")
    assert f"<title>{words} · Perijove</title>" in page
    assert f"<h1>{words}</h1>" in page


async def test_a_link_lets_whoever_opens_it_in_until_all_sharing_ends(enter, root):
    ann, ben = await enter("ann"), await enter("ben")
    response, page = await send(ann, {"action": "make-link", "expires_in": "3600"})
    assert response.status == 201
    link = html.unescape(re.search(r'id="new-link"[^>]*value="([^"]+)"', page)[1])
    assert link.startswith(f"http://{response.url.authority}/hub/accept-share?code=")
    assert link not in (await ann.get("hub/share/ann"))[1]
    _, page = await ben.get(link)
    await ben.post("hub/accept-share", {"_xsrf": xsrf_of(page), "code": link.partition("code=")[2]})
    _, page = await ann.get("hub/share/ann")
    assert "Accepted 1 time ·" in page
    assert "Revoke access of ben" in page
    await send(ann, {"action": "revoke-all"})
    assert (await root("GET", "/shares/ann")).json["items"] == []
    response, _ = await ben.get(link)
    assert response.status == 404


async def test_one_link_is_revoked_and_the_others_stay(enter, root):
    ann = await enter("ann")
    for _ in range(2):
        _, page = await send(ann, {"action": "make-link", "expires_in": "86400"})
    first = re.search(r'name="link" value="(sc_\d+)"', page)[1]
    await send(ann, {"action": "revoke-link", "link": first})
    left = (await root("GET", "/share-codes/ann/")).json["items"]
    assert len(left) == 1
    assert left[0]["id"] != first


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"action": "grant", "kind": "user", "name": "nobody-such"}, "No such user"),
        ({"action": "grant", "kind": "user", "name": "ann"}, "belongs to ann"),
        ({"action": "grant", "kind": "service", "name": "root"}, "Choose a user or a group"),
        ({"action": "grant", "kind": "user", "name": " "}, "Name a user"),
        ({"action": "make-link", "expires_in": "1"}, "Choose when the link expires"),
        ({"action": "revoke-link", "link": ""}, "Which link?"),
        ({"action": "revoke-link", "link": "sc_999999"}, "No matching code"),
        ({"action": "dance"}, "Unknown action"),
    ],
)
async def test_what_cannot_be_done_is_said_and_changes_nothing(enter, root, fields, reason):
    ann = await enter("ann")
    response, page = await send(ann, fields)
    assert response.status == 400
    assert reason in html.unescape(page)
    assert (await root("GET", "/shares/ann")).json["items"] == []


async def test_who_may_name_nobody_shares_by_link_alone(enter):
    """Naming would tell who has an account: the form is absent, and the POST refused without saying which."""
    kim = await enter("kim")
    _, page = await kim.get("hub/share/kim")
    assert "Share by name" not in page
    assert "Make a link" in page
    for name in ("ben", "nobody-such"):
        response, page = await send(kim, {"action": "grant", "kind": "user", "name": name}, "hub/share/kim")
        assert response.status == 400
        assert "Need scope &#39;read:users:name&#39;" in page


async def test_who_may_not_share_finds_no_button_and_is_refused(enter, root):
    """The default of JupyterHub: users see with whom their servers are shared, and share nothing themselves."""
    ben = await enter("ben")
    _, page = await ben.get("hub/home")
    assert "/hub/share/" not in page
    _, page = await ben.get("hub/share/ben")
    assert "Make a link" not in page
    assert "Share by name" not in page
    response, _ = await send(ben, {"action": "make-link", "expires_in": "3600"}, "hub/share/ben")
    assert response.status == 404
    assert (await root("GET", "/share-codes/ben")).json["items"] == []


@pytest.mark.parametrize("path", ["hub/share/ann", "hub/share/ann/nothing", "hub/share/nobody", "hub/share/nobody/x"])
async def test_servers_of_others_look_as_if_they_did_not_exist(enter, path):
    ben = await enter("ben")
    told = set()
    for response, page in (await ben.get(path), await send(ben, {"action": "revoke-all"}, path)):
        assert response.status == 404
        told.add("No such server, or not yours to use" in page)
    assert told == {True}


async def test_a_form_without_its_proof_shares_nothing(enter, root):
    ann = await enter("ann")
    response, _ = await ann.post("hub/share/ann", {"action": "grant", "kind": "user", "name": "ben"})
    assert response.status == 403
    assert (await root("GET", "/shares/ann")).json["items"] == []


async def test_each_change_is_in_the_audit_trail(inside, enter):
    ann = await enter("ann")
    await send(ann, {"action": "grant", "kind": "user", "name": "ben"})
    await send(ann, {"action": "make-link", "expires_in": "3600"})
    await send(ann, {"action": "revoke-all"})
    lines, _ = await audit_trail.read_page(inside.hub, AuditQuery(actor="ann", subject="ann/"), limit=4)
    assert [line.action for line in lines] == [
        "share.revoke-all",
        "share-code.revoke",
        "share-code.issue",
        "share.grant",
    ]
    assert lines[-1].data == {"user": "ben", "scopes": [ACCESS]}
    assert all(line.address for line in lines)
