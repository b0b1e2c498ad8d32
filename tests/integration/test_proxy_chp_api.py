"""configurable-http-proxy's REST API, by the same requests to the real one and to ours."""

import asyncio
import contextlib
import json
import sys

import aiohttp
import psutil
import pytest

from perijove.proxy.options import APIOptions
from perijove.testing.npm import NPMMissing, chp
from perijove.testing.proxy import serve_api_proxy, target, wire
from perijove.testing.stock_hub import stock_hub
from perijove.testing.waiting import until

AUTHORIZATION = b"Authorization: token secret"


class Place:
    """Public and API addresses of either proxy, and calls of the API."""

    def __init__(self, public, api):
        self.public = public
        self.api = api

    async def call(self, method, path, body=None, authorization=AUTHORIZATION):
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = [f"{method} {path} HTTP/1.1".encode(), b"Host: h", b"Content-Length: %d" % len(data)]
        fields += [authorization] if authorization else []
        async with wire(self.api) as client:
            await client.send(b"\r\n".join((*fields, b"", data)))
            return await client.answer()

    async def routes(self, query=""):
        return (await self.call("GET", f"/api/routes{query}")).json()

    async def get(self, path, *fields):
        async with wire(self.public) as client:
            return await client.ask(b"\r\n".join((b"GET " + path + b" HTTP/1.1", *(fields or (b"Host: h",)), b"", b"")))


@contextlib.asynccontextmanager
async def place(which, host_routing=False):
    if which == "theirs":
        try:
            async with chp("secret", *(["--host-routing"] if host_routing else [])) as (port, api):
                yield Place(("127.0.0.1", port), ("127.0.0.1", api))
        except NPMMissing as error:
            pytest.skip(str(error))
    else:
        async with serve_api_proxy(host_routing=host_routing) as proxy:
            yield Place(proxy.addresses[0], proxy.control.api_address)


@pytest.fixture(params=["ours", "theirs"])
def which(request):
    return request.param


def echo(name):
    """A target that says who it is and which path it was asked for."""

    async def handler(reader, writer):
        while True:
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
            body = b"%s %s" % (name, line)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    return handler


async def test_routes_are_added_read_and_deleted(which):
    """With the data they were given, unescaped and without a last slash, and when they were last used."""
    async with place(which) as proxy:
        assert await proxy.routes() == {}
        body = {"target": "http://127.0.0.1:1", "user": "ada", "server_name": "", "jupyterhub": True}
        added = await proxy.call("POST", "/api/routes/user/ada", body)
        assert (added.status, added.body) == (201, b"")
        await proxy.call("POST", "/api/routes/user/a%20b@c%C3%A9/", {"target": "http://127.0.0.1:2"})
        found = await proxy.routes()
        assert sorted(found) == ["/user/a b@cé", "/user/ada"]
        at = found["/user/ada"].pop("last_activity")
        assert len(at) == len("2026-11-20T07:17:16.946Z")
        assert at.endswith("Z")
        assert found["/user/ada"] == body
        assert (await proxy.call("GET", "/api/routes/user/ada")).json()["user"] == "ada"
        assert (await proxy.call("GET", "/api/routes/user/eve")).status == 404
        replaced = {"target": "http://127.0.0.1:3"}
        await proxy.call("POST", "/api/routes/user/ada", replaced)
        shown = (await proxy.call("GET", "/api/routes/user/ada")).json()
        assert shown["target"] == "http://127.0.0.1:3"
        assert "user" not in shown
        deleted = await proxy.call("DELETE", "/api/routes/user/ada")
        assert (deleted.status, deleted.body) == (204, b"")
        assert (await proxy.call("DELETE", "/api/routes/user/ada")).status == 404
        assert list(await proxy.routes()) == ["/user/a b@cé"]


async def test_the_root_is_a_route_like_any_other(which):
    """An empty path is `/`, which takes what nobody else has."""
    async with place(which) as proxy, target(echo(b"hub")) as hub, target(echo(b"ada")) as ada:
        assert (await proxy.get(b"/user/ada/x")).status == 404
        assert (await proxy.call("POST", "/api/routes/", {"target": hub})).status == 201
        assert (await proxy.call("POST", "/api/routes/user/ada", {"target": ada})).status == 201
        assert list(await proxy.routes()) == ["/", "/user/ada"]
        assert (await proxy.get(b"/user/ada/x?y=1")).body == b"ada /user/ada/x?y=1"
        assert (await proxy.get(b"/user/adam")).body == b"hub /user/adam"
        assert (await proxy.call("DELETE", "/api/routes/")).status == 204
        assert (await proxy.get(b"/user/adam")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/routes/x", b"not json", 400),
        ("POST", "/api/routes/x", {}, 400),
        ("POST", "/api/routes/x", {"target": 5}, 400),
        ("POST", "/api/routes/x", {"target": "notaurl"}, 201),
        ("GET", "/api/routes?inactiveSince=yesterday", None, 400),
        ("GET", "/api/other", None, 404),
        ("GET", "/", None, 404),
        ("PATCH", "/api/routes/x", {}, 405),
        ("GET", "/api/routes/", None, 200),
    ],
)
async def test_what_cannot_be_used_is_refused(which, method, path, body, status):
    """By the same statuses."""
    async with place(which) as proxy:
        assert (await proxy.call(method, path, body)).status == status
        assert (await proxy.call("GET", "/api/routes")).status == 200


@pytest.mark.parametrize("authorization", [None, b"Authorization: token wrong", b"Authorization: secret"])
async def test_nobody_without_the_token_is_let_in(which, authorization):
    """403, for reading and for writing, and nothing changes."""
    async with place(which) as proxy:
        for method, body in (("GET", None), ("POST", {"target": "http://x"}), ("DELETE", None)):
            answer = await proxy.call(method, "/api/routes/x", body, authorization=authorization)
            assert answer.status == 403
        assert await proxy.routes() == {}


async def test_what_was_used_lately_is_not_inactive(which):
    """By `inactiveSince` and `inactive_since`; a success counts, an error does not."""
    async with place(which) as proxy, target(echo(b"t")) as url:
        for name in ("a", "b"):
            await proxy.call(
                "POST", f"/api/routes/user/{name}", {"target": url if name == "a" else "http://127.0.0.1:1"}
            )
        before = await proxy.routes()
        later = max(route["last_activity"] for route in before.values())

        async def used():
            await proxy.get(b"/user/a/")
            await proxy.get(b"/user/b/")
            return (await proxy.routes())["/user/a"]["last_activity"] > later

        await until(used)
        after = await proxy.routes()
        assert after["/user/b"]["last_activity"] == before["/user/b"]["last_activity"]
        since = after["/user/a"]["last_activity"]
        assert list(await proxy.routes(f"?inactiveSince={since}")) == ["/user/b"]
        assert list(await proxy.routes(f"?inactive_since={since}")) == ["/user/b"]
        assert list(await proxy.routes("?inactiveSince=2020-01-01T00:00:00Z")) == []


async def test_with_host_routing_the_first_segment_is_the_host(which):
    """As JupyterHub with subdomains sets its routes."""
    async with place(which, host_routing=True) as proxy, target(echo(b"ada")) as ada, target(echo(b"hub")) as hub:
        await proxy.call("POST", "/api/routes/ada.hub.org/user/ada", {"target": ada})
        await proxy.call("POST", "/api/routes/hub.org", {"target": hub})
        assert sorted(await proxy.routes()) == ["/ada.hub.org/user/ada", "/hub.org"]
        for host in (b"ada.hub.org", b"ada.hub.org:8000"):
            assert (await proxy.get(b"/user/ada/lab", b"Host: " + host)).body == b"ada /user/ada/lab"
        assert (await proxy.get(b"/user/ada/lab", b"Host: hub.org")).body == b"hub /user/ada/lab"
        assert (await proxy.get(b"/user/ada/lab", b"Host: eve.hub.org")).status == 404
        assert (await proxy.get(b"/other", b"Host: ada.hub.org")).status == 404
        assert (await proxy.call("DELETE", "/api/routes/ada.hub.org/user/ada")).status == 204
        assert (await proxy.get(b"/user/ada/lab", b"Host: ada.hub.org")).status == 404


async def test_many_calls_on_one_connection(which):
    """Hundreds of routes in a row, as a hub adds them at its start."""
    async with place(which) as proxy, wire(proxy.api) as client:
        for number in range(300):
            body = b'{"target": "http://127.0.0.1:1"}'
            head = b"POST /api/routes/user/u%d HTTP/1.1\r\nHost: h\r\n%s\r\n" % (number, AUTHORIZATION)
            await client.send(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
            assert (await client.answer()).status == 201
        assert len(await proxy.routes()) == 300


async def test_an_escaped_slash_stays_data():
    """There it separates segments, so that one user's name could be another's path; here it never does."""
    async with place("ours") as proxy, target(echo(b"t")) as url:
        await proxy.call("POST", "/api/routes/user/a%2Fb", {"target": url})
        assert (await proxy.get(b"/user/a%2Fb/x")).body == b"t /user/a%2Fb/x"
        assert (await proxy.get(b"/user/a/b/x")).status == 404


async def test_the_whole_table_in_one_call():
    """`PUT` replaces everything at once: what is not named is gone, what stays keeps its last activity."""
    async with place("ours") as proxy, target(echo(b"t")) as url:
        for name in ("a", "b"):
            await proxy.call("POST", f"/api/routes/user/{name}", {"target": url})
        before = await proxy.routes()
        table = {"/user/a": {"target": url, "user": "a"}, "/user/é c": {"target": url}}
        answer = await proxy.call("PUT", "/api/routes", table)
        assert (answer.status, answer.json()) == (200, {"routes": 2})
        after = await proxy.routes()
        assert sorted(after) == ["/user/a", "/user/é c"]
        assert after["/user/a"]["last_activity"] == before["/user/a"]["last_activity"]
        assert after["/user/a"]["user"] == "a"
        assert (await proxy.get(b"/user/%C3%A9%20c/x")).status == 200
        assert (await proxy.get(b"/user/b/x")).status == 404
        assert (await proxy.call("PUT", "/api/routes", [1])).status == 400
        assert (await proxy.call("PUT", "/api/routes", {"/x": {}})).status == 400
        assert (await proxy.call("PUT", "/api/routes", b"[" * 100_000)).status == 400
        assert (await proxy.call("PUT", "/api/routes", b'{"/x": {"target": "\xd0"}}')).status == 400
        assert len(await proxy.routes()) == 2


async def test_error_pages_are_asked_of_the_error_target(which):
    """With the original status; its type and body are relayed."""
    asked = asyncio.Queue()

    async def pages(reader, writer):
        asked.put_nowait((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        body = b"<p>our page</p>"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async with target(pages) as url:
        error_target = url + "/hub/error"
        if which == "ours":
            async with serve_api_proxy(error_target=error_target) as proxy:
                await _check_error_page(proxy.addresses[0], asked)
        else:
            try:
                async with chp("secret", "--error-target", error_target) as (port, _):
                    await _check_error_page(("127.0.0.1", port), asked)
            except NPMMissing as error:
                pytest.skip(str(error))


async def _check_error_page(public, asked):
    async with wire(public) as client:
        answer = await client.ask(b"GET /user/x?y=1 HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n")
    assert (answer.status, answer.body, answer.field("content-type")) == (404, b"<p>our page</p>", "text/html")
    assert asked.get_nowait() == b"/hub/error/404?url=%2Fuser%2Fx%3Fy%3D1"


async def test_a_default_target_is_there_from_the_start():
    """And can be replaced by the API."""
    async with target(echo(b"first")) as first, target(echo(b"second")) as second:
        api = APIOptions(listen=[("127.0.0.1", 0)], default_target=first)
        async with serve_api_proxy(api=api) as running:
            proxy = Place(running.addresses[0], running.control.api_address)
            assert (await proxy.get(b"/x")).body == b"first /x"
            await proxy.call("POST", "/api/routes/", {"target": second})
            assert (await proxy.get(b"/x")).body == b"second /x"


async def test_a_stock_hub_starts_a_proxy_that_died_again(tmp_path):
    """And puts all routes back, as it does with its own."""
    command = [sys.executable, "-P", "-m", "perijove.cli.chp"]
    async with stock_hub(tmp_path, command) as hub:
        before = int((tmp_path / "proxy.pid").read_text())
        psutil.Process(before).kill()

        async def back():
            try:
                return int((tmp_path / "proxy.pid").read_text()) != before and "/" in await hub.routes()
            except (OSError, ValueError, aiohttp.ClientError):
                return False

        await until(back, seconds=30)
        async with aiohttp.ClientSession() as session, session.get(f"{hub.url}hub/health") as response:
            assert response.status == 200
