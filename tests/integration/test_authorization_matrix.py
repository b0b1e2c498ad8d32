"""Who may do what: every operation of the API with every scope, with and without filters, and every kind of caller.

What is expected comes from JupyterHub: the hierarchy of scopes as its documentation has it, and the scopes of each
operation as its published OpenAPI document has them, corrected where its handlers ask for something else. Nothing is
read from our own tables. Operations are those of the document that the hub under test serves: one that is in
neither table fails.

Whether a scope opens an operation is seen from the answer to a request that does no harm: its body is not JSON,
or what it names does not exist. Denied is 401, 403, or the 404 that hides what is somebody else's.
"""

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import aiohttp
import pytest
import pytest_asyncio

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.services.share_grants import Target, grant
from perijove.services.tokens import create_token
from perijove.testing.api import ApiClient
from perijove.testing.browser import Browser, xsrf_of
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLISHED = Path(__file__).parents[1] / "compat" / "jupyterhub-openapi.json"
METHODS = ("get", "post", "put", "patch", "delete")
ROOT, SERVICE = "root-token", "service-token"
HIDDEN = "No access to resources or resources not found"

# -- expectations

# Scope -> those that it contains.
HIERARCHY = {
    "admin-ui": "",
    "admin:users": "admin:auth_state users read:roles:users delete:users",
    "users": "read:users list:users users:activity",
    "read:users": "read:users:name read:users:groups read:users:activity",
    "list:users": "read:users:name",
    "users:activity": "read:users:activity",
    "admin:servers": "admin:server_state servers",
    "servers": "read:servers start:servers delete:servers",
    "read:servers": "read:users:name",
    "tokens": "read:tokens",
    "admin:groups": "groups read:roles:groups delete:groups",
    "groups": "read:groups list:groups",
    "read:groups": "read:groups:name",
    "list:groups": "read:groups:name",
    "admin:services": "list:services read:services read:roles:services",
    "list:services": "read:services:name",
    "read:services": "read:services:name",
    "read:roles": "read:roles:users read:roles:services read:roles:groups",
    "shares": "access:servers read:shares users:shares groups:shares",
    "users:shares": "read:users:shares",
    "groups:shares": "read:groups:shares",
    "read:hub": "",
    "access:services": "",
    "proxy": "",
    "shutdown": "",
    "read:metrics": "",
    # Beyond JupyterHub's.
    "admin:roles": "read:roles",
    "read:audit": "",
}
# What becomes of these is made again before the next.
DESTRUCTIVE = {
    ("delete", "/users/{name}"),
    ("delete", "/groups/{name}"),
    ("delete", "/users/{name}/servers/{server_name}"),
}
# Read before it is known who asks: a name and a password may be in it.
HARMLESS = {("post", "/users/{name}/tokens"): b'{"expires_in": 60}'}
SELF = "read:users users:shares read:shares users:activity servers tokens access:servers"

# Where JupyterHub's handlers ask for something else than its document says, or accept more than one scope.
CORRECTED = {
    ("get", "/users/{name}"): (
        "read:users read:users:name read:servers read:users:groups read:users:activity read:roles:users"
    ),
    ("get", "/groups/{name}"): "read:groups read:groups:name read:roles:groups",
    ("get", "/services/{name}"): "read:services read:services:name read:roles:services",
    ("get", "/services"): "list:services",
    ("post", "/users/{name}/server"): "start:servers",
    # Names of others are asked for once it is known whom a server is shared with.
    ("post", "/shares/{owner}/{server_name}"): "shares",
    ("patch", "/shares/{owner}/{server_name}"): "shares",
}
# Not in JupyterHub's document: its handlers have the first ones, the rest is ours.
ADDED = {
    ("post", "/groups"): "admin:groups",
    ("post", "/services/{name}"): "admin:services",
    ("delete", "/services/{name}"): "admin:services",
    ("get", "/users/{name}/server"): "read:servers",
    ("put", "/users/{name}/server"): "start:servers",
    ("patch", "/users/{name}/server"): "start:servers",
    ("get", "/users/{name}/server/progress"): "read:servers",
    ("get", "/users/{name}/servers/{server_name}/progress"): "read:servers",
    ("get", "/users/{name}/servers"): "read:servers",
    ("get", "/users/{name}/storage"): "read:servers",
    ("delete", "/users/{name}/storage/{volume}"): "admin:servers",
    ("get", "/roles"): "read:roles",
    ("get", "/roles/{name}"): "read:roles",
    ("post", "/roles/{name}"): "admin:roles",
    ("patch", "/roles/{name}"): "admin:roles",
    ("delete", "/roles/{name}"): "admin:roles",
    ("get", "/roles/{name}/users"): "read:roles",
    ("post", "/roles/{name}/holders"): "admin:roles",
    ("delete", "/roles/{name}/holders"): "admin:roles",
    ("get", "/audit"): "read:audit",
    ("get", "/audit/export"): "read:audit",
}
# Open to everybody, to whoever has any credential, or to who proves something else in the request; tested elsewhere.
OTHERWISE = {
    ("get", "/"),
    ("get", "/health"),
    ("get", "/user"),
    ("post", "/authorizations/token"),
    ("get", "/authorizations/token/{token}"),
    ("post", "/authorizations/token/{token}"),
    ("get", "/authorizations/cookie/{cookie_name}/{cookie_value}"),
    ("post", "/users/{name}/admin-access"),
    ("get", "/oauth2/authorize"),
    ("post", "/oauth2/token"),
}
LISTS = {"/users": ("user", "group"), "/groups": ("group",), "/services": ("service",)}


def kind_of(method: str, path: str) -> str:
    """What the filter of a scope has to name: user, server, group, service, a list, or nothing at all."""
    if method == "get" and path in LISTS:
        return "list"
    if path.startswith(("/shares/{owner}/", "/share-codes/{owner}/")):
        return "server"
    if path.startswith(("/shares", "/share-codes")):
        return "user"
    if path.startswith("/users/{name}/server") and not path.endswith("/servers"):
        return "server"
    for start, kind in (("/users/", "user"), ("/groups/", "group"), ("/services/", "service")):
        if path.startswith(start):
            return kind
    return ""


def contained(scope: str) -> set[str]:
    """A scope, and what it contains, with its filter; what is about users falls away with a server's."""
    base, bang, named = scope.partition("!")
    bases, todo = set(), [base]
    while todo:
        bases.add(current := todo.pop())
        todo += HIERARCHY.get(current, "").split()
    if named.startswith("server="):
        bases = {found for found in bases if found == base or not found.startswith("read:user")}
    return {f"{found}{bang}{named}" for found in bases}


ALL_SCOPES = sorted({scope for parent in HIERARCHY for scope in contained(parent)})
# What requests are about, and filters that name others of each kind.
SOME = {"user": "ann", "group": "crew", "service": "svc"}
FOREIGN = ("user=eve", "group=others", "server=eve/", "service=root")


class Operation(NamedTuple):
    method: str
    path: str

    @property
    def kind(self) -> str:
        return kind_of(self.method, self.path)

    @property
    def server(self) -> str:
        return "gpu" if "{server_name}" in self.path else ""

    @property
    def filters(self) -> tuple[str, ...]:
        """With which a scope opens it; "" is without one."""
        if self.kind == "list":
            return ("", *(f"{kind}={SOME[kind]}" for kind in LISTS[self.path]))
        if self.kind == "server":
            return ("", f"server=ann/{self.server}", "user=ann", "group=crew")
        return {
            "": ("",),
            "user": ("", "user=ann", "group=crew"),
            "group": ("", "group=crew"),
            "service": ("", "service=svc"),
        }[self.kind]

    def opened_by(self, held: set[str]) -> bool:
        """Whether whoever holds these scopes may do it."""
        whole = {scope for text in held for scope in contained(text)}
        return any(filtered(base, named) in whole for base in EXPECTED[self] for named in self.filters)


def filtered(base: str, named: str) -> str:
    return f"{base}!{named}" if named else base


def expected() -> dict[Operation, set[str]]:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))["paths"]
    found = {}
    for path, operations in published.items():
        for method in METHODS:
            security = operations.get(method, {}).get("security") or []
            scopes = {scope for way in security for scope in way.get("oauth2", ()) if scope != "(no_scope)"}
            if scopes:
                found[Operation(method, path.rstrip("/") or "/")] = scopes
    words = {Operation(*key): set(text.split()) for key, text in (CORRECTED | ADDED).items()}
    return {key: scopes for key, scopes in (found | words).items() if key not in OTHERWISE}


EXPECTED = expected()

# -- the hub, its people, and their tokens


@dataclass
class Matrix:
    hub: Any
    url: str
    session: aiohttp.ClientSession
    tokens: dict[frozenset[str], str] = field(default_factory=dict)

    async def token(self, *scopes: str) -> str:
        """An administrator's, cut down to these scopes."""
        wanted = frozenset(scopes)
        if wanted not in self.tokens:
            made = await create_token(self.hub, "boss", note="", actor="test", scopes=sorted(wanted))
            self.tokens[wanted] = made.token
        return self.tokens[wanted]

    async def own_token(self, name: str) -> str:
        """Of somebody, as wide as they are."""
        return (await create_token(self.hub, name, note="", actor="test", scopes=None)).token

    async def allowed(self, operation: Operation, token: str | None) -> bool:
        """Sends a harmless request; whether it got past the authorization."""
        method, path = operation.method, operation.path
        if (method, path) in DESTRUCTIVE:
            await self.restore()
        names = {"server_name": operation.server, "owner": "ann", "token_id": "a0", "volume": "none", "name": "nothing"}
        for start, kind in (("/users/", "user"), ("/groups/", "group"), ("/services/", "service")):
            if path.startswith(start):
                names["name"] = SOME[kind]
        headers = {"Authorization": f"token {token}"} if token else {}
        body = None if method in {"get", "delete"} else HARMLESS.get((method, path), b"this is not JSON")
        url = f"{self.url}hub/api{path.format(**names)}"
        async with self.session.request(method, url, headers=headers, data=body, allow_redirects=False) as answer:
            text = await answer.text()
        assert answer.status < 500, text
        return answer.status not in (401, 403) and not (answer.status == 404 and HIDDEN in text)

    async def restore(self) -> None:
        async with ApiClient(self.url, ROOT) as root:
            await root("POST", "/users/ann", {})
            await root("POST", "/groups/crew", {})
            await root("POST", "/groups/crew/users", {"users": ["ann"]})
            await root("PUT", "/users/ann/servers/gpu", {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(tmp_path_factory):
    async with (
        hub_inside(
            tmp_path_factory.mktemp("hub"),
            traits={"Authenticator": {"allow_all": True, "admin_users": {"boss"}}},
            services=(
                ServiceOptions(name="root", api_token=ROOT, admin=True),
                ServiceOptions(name="svc", api_token=SERVICE),
            ),
            load_roles=(RoleOptions(name="watchers", scopes=("read:servers!group=crew",), services=("svc",)),),
            allow_named_servers=True,
            redirect_to_server=False,
        ) as inside,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        async with ApiClient(inside.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["eve", "ben"]})
            await root("POST", "/users/boss", {"admin": True})
            await root("POST", "/groups", {"groups": ["others", "friends"]})
            await root("POST", "/groups/friends/users", {"users": ["ben"]})
        found = Matrix(inside.hub, inside.url, session)
        await found.restore()
        yield found


# -- the API


async def test_every_operation_has_an_expectation_and_the_document_says_the_same(matrix):
    """What the hub's own document says of each operation's scopes is what JupyterHub asks for."""
    async with matrix.session.get(f"{matrix.url}hub/api/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    served = {
        Operation(method, path): one for path, by in paths.items() for method, one in by.items() if method in METHODS
    }
    assert set(served) - set(EXPECTED) == {Operation(*key) for key in OTHERWISE}
    assert set(EXPECTED) <= set(served)
    said = {
        key: {scope for way in one.get("security", ()) for scope in way.get("oauth2", ())}
        for key, one in served.items()
    }
    # A password in the body may stand in for the token.
    said[Operation("post", "/users/{name}/tokens")] = {"tokens"}
    assert {key: said[key] for key in EXPECTED} == EXPECTED


@pytest.mark.parametrize("operation", sorted(EXPECTED), ids=lambda key: f"{key.method} {key.path}")
async def test_an_operation_opens_to_its_scopes_and_to_no_other(matrix, operation):
    """Each scope that contains a needed one opens it, for everything or for what is asked about; all others together,
    and all scopes for other users, groups, servers and services, do not."""
    opening = {base for base in ALL_SCOPES for needed in EXPECTED[operation] if needed in contained(base)}
    for base in sorted(opening):
        for named in operation.filters:
            scope = filtered(base, named)
            if operation.opened_by({scope}):
                assert await matrix.allowed(operation, await matrix.token(scope)), scope
    rest = [base for base in ALL_SCOPES if base not in opening]
    assert not await matrix.allowed(operation, await matrix.token(*rest)), rest
    if operation.kind != "list":
        # Where nothing is named, no filter will do, be it that of the right user.
        others = [*FOREIGN, *([] if operation.kind else ["user=ann", "group=crew"])]
        elsewhere = [filtered(base, named) for base in ALL_SCOPES for named in others]
        assert not await matrix.allowed(operation, await matrix.token(*elsewhere))


ANN = {f"{base}!user=ann" for base in SELF.split()}
PERSONAS = {
    "nobody": set(),
    "other user": {f"{base}!user=eve" for base in SELF.split()},
    "the user": ANN,
    # Through a group; reaching the server is all it gives.
    "group-shared": {f"{base}!user=ben" for base in SELF.split()} | {"access:servers!server=ann/gpu"},
    # Everybody may know who they are themselves.
    "service": {"read:servers!group=crew", "read:services:name!service=svc"},
    "admin": set(ALL_SCOPES),
}


@pytest.mark.parametrize("persona", PERSONAS)
async def test_each_kind_of_caller_may_do_what_their_scopes_say(matrix, persona):
    names = {"other user": "eve", "the user": "ann", "group-shared": "ben", "admin": "boss"}
    if persona == "group-shared":
        scopes = ["access:servers!server=ann/gpu"]
        await grant(matrix.hub, "ann", "gpu", Target("group", "friends"), scopes, actor="test")
    wrong = {}
    for operation in EXPECTED:
        if (operation.method, operation.path) in DESTRUCTIVE:
            await matrix.restore()  # and with it what was gone: a token goes with its user
        token = (
            SERVICE if persona == "service" else await matrix.own_token(names[persona]) if persona in names else None
        )
        if (may := await matrix.allowed(operation, token)) != operation.opened_by(PERSONAS[persona]):
            wrong[operation] = may
    assert wrong == {}


# -- pages


class Page(NamedTuple):
    """What each sees: the status, or "login" for who is sent there first."""

    path: str
    other: int
    shared: int
    owner: int
    admin: int


PAGES = [
    Page("hub/home", 200, 200, 200, 200),
    Page("hub/token", 200, 200, 200, 200),
    Page("hub/sessions", 200, 200, 200, 200),
    # Whether somebody else's server exists is told to nobody.
    Page("hub/spawn-pending/ann/gpu", 404, 404, 200, 200),
    Page("hub/share/ann/gpu", 404, 404, 200, 200),
    Page("hub/share/ann/nothing", 404, 404, 404, 404),
    Page("hub/accept-share?code=none", 404, 404, 404, 404),
    # It is not running: 424 for who may open it.
    Page("hub/user/ann/gpu/lab", 404, 424, 424, 424),
    Page("hub/admin", 403, 403, 403, 200),
    Page("hub/admin/groups", 403, 403, 403, 200),
    Page("hub/admin/groups/crew", 403, 403, 403, 200),
    Page("hub/admin/roles", 403, 403, 403, 200),
    Page("hub/admin/roles/watchers", 403, 403, 403, 200),
    Page("hub/admin/new-role", 403, 403, 403, 200),
    Page("hub/admin/services", 403, 403, 403, 200),
    Page("hub/admin/audit", 403, 403, 403, 200),
    Page("hub/admin/audit/export", 403, 403, 403, 200),
    # Without options to choose from it is started, and they are led to its progress.
    Page("hub/spawn/ann/gpu", 404, 404, 302, 302),
]
# Forms that would change something, with what would be sent.
FORMS = [
    Page("hub/stop/ann/gpu", 404, 404, 303, 303),
    Page("hub/share/ann/gpu?action=revoke-all", 404, 404, 404, 303),
    Page("hub/admin/users?usernames=ann", 403, 403, 403, 400),
    Page("hub/admin/users/edit?user=ann&admin=0", 403, 403, 403, 303),
    Page("hub/admin/bulk?users=ann&action=stop", 403, 403, 403, 303),
    Page("hub/admin/groups?name=friends", 403, 403, 403, 400),
    Page("hub/admin/groups/friends?action=remove&names=eve", 403, 403, 403, 303),
    Page("hub/admin/new-role?name=watchers", 403, 403, 403, 400),
    Page("hub/admin/roles/watchers?action=delete", 403, 403, 403, 400),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(matrix):
    """Browsers: of nobody, another user, one whose group the server is shared with, its owner, and an admin."""
    scopes = ["access:servers!server=ann/gpu"]
    await matrix.restore()
    await grant(matrix.hub, "ann", "gpu", Target("group", "friends"), scopes, actor="test")
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(Browser(matrix.url)) for _ in range(5)]
        for browser, name in zip(found[1:], ("eve", "ben", "ann", "boss"), strict=True):
            await browser.log_in(name, "x")
        yield found


async def sees(browser, path):
    response, _ = await browser.get(path, allow_redirects=False)
    login = response.status == 302 and "/hub/login" in response.headers["location"]
    return "login" if login else response.status


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
async def test_each_page_shows_to_those_it_is_for(people, page):
    assert [await sees(browser, page.path) for browser in people] == ["login", *page[1:]]


async def test_a_token_opens_no_page_that_has_forms(matrix):
    """Forms would let the holder of a narrow token do whatever its owner may."""
    token = await matrix.own_token("boss")
    for page in PAGES:
        headers = {"Authorization": f"token {token}"}
        async with matrix.session.get(f"{matrix.url}{page.path}", headers=headers, allow_redirects=False) as answer:
            assert answer.status in (302, 303, 403, 404, 424), page.path


@pytest.mark.parametrize("form", FORMS, ids=lambda page: page.path)
async def test_each_form_works_for_those_it_is_for(people, form):
    """With a proof of their own each; without one for nobody."""
    path, _, query = form.path.partition("?")
    fields = dict(parse_qsl(query))
    answers = []
    for browser in people[1:]:
        _, shown = await browser.get("hub/token")
        response, _ = await browser.post(path, {"_xsrf": xsrf_of(shown), **fields}, allow_redirects=False)
        answers.append(response.status)
        response, _ = await browser.post(path, fields, allow_redirects=False)
        assert response.status in (403, 404)
    assert answers == list(form[1:])
    response, _ = await people[0].post(path, fields, allow_redirects=False)
    assert response.status in (302, 403)
