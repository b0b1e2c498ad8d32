"""Every page and endpoint that shows or changes something, as an administrator and as a user."""

from collections.abc import Iterator
from dataclasses import dataclass

# What the service's token must be allowed, as a role of the configuration.
SCOPES = [
    *("admin:users", "admin:servers", "admin:groups", "tokens", "proxy", "read:hub"),
    *("list:services", "read:services", "read:metrics", "access:servers"),
]
# Who asks.
ADMIN, USER, SERVICE = "administrator", "user", "service"


@dataclass(frozen=True)
class Ask:
    """`{n}` in the path is another number each time, `{user}` a user with a running server, `{idle}` one without."""

    who: str
    method: str
    path: str
    what: str
    body: object = None
    # A list of everything: told apart, because its length is what is asked for.
    whole: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.what}" if self.method != "GET" else self.what


def pages(users: int) -> Iterator[Ask]:
    for who in (USER, ADMIN):
        for path in ("home", "token", "sessions", "spawn", "api-docs"):
            yield Ask(who, "GET", f"hub/{path}", f"page {path}")
    deep = users - 100
    for query, what in (
        ("", "first page"),
        (f"?offset={deep}", "last page"),
        ("?sort=-last_activity", "by activity"),
        (f"?sort=-last_activity&offset={deep}", "by activity, last page"),
        ("?state=active", "active"),
        ("?state=ready&sort=-last_activity", "ready, by activity"),
        ("?state=inactive", "inactive"),
        ("?name_filter=0042", "searched"),
        ("?name_filter=nobody", "searched in vain"),
    ):
        yield Ask(ADMIN, "GET", f"hub/admin{query}", f"page admin, {what}")
    for path in ("groups", "groups/group000", "roles", "services", "audit"):
        yield Ask(ADMIN, "GET", f"hub/admin/{path}", f"page admin/{path}")
    yield Ask(ADMIN, "GET", "hub/admin/audit?actor={user}", "page admin/audit of one user")
    yield Ask("nobody", "GET", "hub/login", "page login")


def endpoints(users: int) -> Iterator[Ask]:
    api, deep = "hub/api", users - 200
    yield Ask("nobody", "GET", "hub/health", "/hub/health")
    yield Ask("nobody", "GET", "hub/metrics", "/hub/metrics")
    yield Ask("nobody", "GET", f"{api}/", "/api/")
    yield Ask(SERVICE, "GET", f"{api}/info", "/api/info")
    yield Ask(SERVICE, "GET", f"{api}/user", "/api/user")
    for query, what in (
        ("?limit=200", "200 first"),
        (f"?limit=200&offset={deep}", "200 last"),
        ("?limit=200&state=active", "200 active"),
        ("?limit=200&state=ready&sort=-last_activity", "200 ready, by activity"),
        (f"?limit=200&sort=last_activity&offset={users // 2}", "200 in the middle, by activity"),
        ("?limit=200&name_filter=0042", "searched"),
        ("?limit=200&include_stopped_servers", "200 with stopped servers"),
    ):
        yield Ask(SERVICE, "GET", f"{api}/users{query}", f"/api/users, {what}")
    yield Ask(SERVICE, "GET", f"{api}/users/{{user}}", "/api/users/:name")
    yield Ask(SERVICE, "GET", f"{api}/users/{{user}}/tokens", "/api/users/:name/tokens")
    # Groups are told with the names of all their members.
    yield Ask(SERVICE, "GET", f"{api}/groups", "/api/groups, all", whole=True)
    yield Ask(SERVICE, "GET", f"{api}/groups?limit=1&offset=1", "/api/groups, one of 500 members", whole=True)
    yield Ask(SERVICE, "GET", f"{api}/groups/group001", "/api/groups/:name, 500 members", whole=True)
    yield Ask(SERVICE, "GET", f"{api}/groups/group000", "/api/groups/:name, 20,000 members", whole=True)
    yield Ask(SERVICE, "GET", f"{api}/services", "/api/services")
    yield Ask(SERVICE, "GET", f"{api}/proxy?limit=200", "/api/proxy, 200 routes")
    yield Ask(SERVICE, "GET", f"{api}/proxy", "/api/proxy, all routes", whole=True)
    yield Ask(SERVICE, "POST", f"{api}/users/new{{n}}", "/api/users/:name")
    yield Ask(SERVICE, "PATCH", f"{api}/users/new{{n}}", "/api/users/:name", {"admin": False})
    yield Ask(SERVICE, "POST", f"{api}/users/new{{n}}/tokens", "/api/users/:name/tokens", {"note": "bench"})
    yield Ask(SERVICE, "POST", f"{api}/users/{{user}}/activity", "/api/users/:name/activity", ACTIVITY)
    yield Ask(SERVICE, "POST", f"{api}/users/new{{n}}/server", "/api/users/:name/server", {})
    yield Ask(SERVICE, "DELETE", f"{api}/users/new{{n}}/server", "/api/users/:name/server")
    for method in ("POST", "DELETE"):
        members, body = "/api/groups/:name/users", {"users": ["new{n}"]}
        yield Ask(SERVICE, method, f"{api}/groups/group001/users", f"{members}, 500 members", body, whole=True)
        yield Ask(SERVICE, method, f"{api}/groups/group000/users", f"{members}, 20,000 members", body, whole=True)
    yield Ask(SERVICE, "DELETE", f"{api}/users/new{{n}}", "/api/users/:name")


ACTIVITY = {"last_activity": "2026-01-01T00:00:00Z"}


def everything(users: int) -> list[Ask]:
    return [*pages(users), *endpoints(users)]
