"""Each user on a host name of their own: led there as stock JupyterHub leads, cookies and addresses included."""

import asyncio
import json
import re
import socket
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import aiohttp
import psutil
import pytest
import pytest_asyncio
from aiohttp.abc import AbstractResolver
from yarl import URL

from perijove.testing import until
from perijove.testing.browser import TIMEOUT, xsrf_of
from perijove.testing.hub import OPEN, run_hub
from perijove.testing.stock_hub import stock_hub

SMALL_SERVER = Path(__file__).parents[1] / "contract" / "small_server.py"
OUR_PROXY = [sys.executable, "-P", "-m", "perijove.cli.chp"]
HOST = "hub.test"
USER = "zoë@example"
USERS_HOST = "u-zoexampl--1c40d92.hub.test"
SERVICES_HOST = "wiki--service.hub.test"
TOLD = [
    "JUPYTERHUB_HOST",
    "JUPYTERHUB_BASE_URL",
    "JUPYTERHUB_SERVICE_PREFIX",
    "JUPYTERHUB_OAUTH_CALLBACK_URL",
    "JUPYTERHUB_PUBLIC_URL",
    "JUPYTERHUB_PUBLIC_HUB_URL",
]


class EverythingHere(AbstractResolver):
    """Whatever the name, it is this machine."""

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self):
        pass


@dataclass
class Visitor:
    """A browser, logged in as `USER`, whose server runs. Ports read as PORT, whatever they are."""

    port: int
    # Its own port, by which the processes that it started are known.
    hub_port: int
    session: aiohttp.ClientSession

    async def leads(self, host: str, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and where to."""
        url = f"http://{host}:{self.port}{path}"
        async with self.session.request(method, url, allow_redirects=False) as response:
            location = unquote(response.headers.get("Location", ""))
            return response.status, re.sub("code=[^&]+", "code=CODE", self.plain(location))

    async def get(self, host: str, path: str) -> tuple[int, str]:
        async with self.session.get(f"http://{host}:{self.port}{path}") as response:
            return response.status, self.plain(await response.text())

    def plain(self, text: str) -> str:
        return text.replace(f":{self.port}", ":PORT")

    @property
    def cookies(self) -> dict[str, tuple[str, str]]:
        """The hub's, by name: domain and path."""
        return {
            cookie.key: (cookie["domain"], cookie["path"])
            for cookie in self.session.cookie_jar
            if cookie.key in {"jupyterhub-session-id", "jupyterhub-hub-login"}
        }

    @property
    def environment(self) -> dict[str, str]:
        """What the user's server was told of addresses."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if f":{self.hub_port}/" in environment.get("JUPYTERHUB_API_URL", ""):
                    return {name: self.plain(environment[name]) for name in TOLD}
        raise LookupError("no server")


@asynccontextmanager
async def visitor(port: int, hub_port: int):
    connector = aiohttp.TCPConnector(resolver=EverythingHere())
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        found = Visitor(port, hub_port, session)
        _, form = await found.get(HOST, "/hub/login?next=/hub/home")
        fields = {"username": USER, "password": "any", "_xsrf": xsrf_of(form)}
        async with session.post(f"http://{HOST}:{port}/hub/login?next=/hub/home", data=fields) as response:
            assert response.status == 200, await response.text()
        await found.leads(HOST, "/hub/spawn")

        async def ready() -> bool:
            _, text = await found.get(HOST, f"/user/{USER}/")
            return text == "hello"

        await until(ready, seconds=30, every=0.2)
        yield found


async def _say_hello(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwiki")
    await writer.drain()
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wiki():
    """Where a service is that both hubs know."""
    async with await asyncio.start_server(_say_hello, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ours(tmp_path_factory, wiki):
    settings = tmp_path_factory.mktemp("ours") / "hosts.yaml"
    async with run_hub(OPEN, files=[settings], start=False) as hub:
        host = {"subdomain_host": f"http://{HOST}:{hub.port}"}
        spawner = {"args": [], "cmd": [sys.executable, str(SMALL_SERVER)]}
        services = {"wiki": {"url": wiki, "apiToken": "wiki-token"}}
        settings.write_text(
            json.dumps({"hub": {"config": {"JupyterHub": host, "Spawner": spawner}, "services": services}})
        )
        await hub.start()
        async with visitor(hub.port, hub.hub_port) as found:
            yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stock(tmp_path_factory, wiki):
    more = f"""
c.JupyterHub.subdomain_host = c.JupyterHub.bind_url.replace("127.0.0.1", "{HOST}")
c.Spawner.args = []
c.JupyterHub.services = [{{"name": "wiki", "url": "{wiki}", "api_token": "wiki-token"}}]
c.Spawner.cmd = [{sys.executable!r}, {str(SMALL_SERVER)!r}]
"""
    async with stock_hub(tmp_path_factory.mktemp("stock"), OUR_PROXY, more=more) as hub:
        port = int(hub.url.rstrip("/").rpartition(":")[2])
        async with visitor(port, hub.hub_port) as found:
            yield found


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (HOST, "/"),
        (HOST, "/hub"),
        (HOST, "/hub/"),
        (HOST, "/hub/spawn"),
        (HOST, "/hub/user-redirect/git-pull?repo=x&branch=y"),
        (HOST, f"/user/{USER}/lab?x=1"),
        (HOST, f"/hub/user/{USER}/lab?x=1"),
        (HOST, f"/hub/spawn/{USER}"),
        (USERS_HOST, "/"),
        ("nobody.hub.test", "/user/nobody/lab?x=1"),
        (HOST, "/services/wiki/"),
        (SERVICES_HOST, "/services/wiki/"),
        (SERVICES_HOST, "/"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_redirects_are_those_of_a_stock_hub(ours, stock, host, path):
    mine, theirs = await ours.leads(host, path), await stock.leads(host, path)
    assert mine == theirs


@pytest.mark.asyncio(loop_scope="module")
async def test_a_login_for_a_server_ends_at_the_servers_host(ours, stock):
    """The OAuth client is registered with the whole address, and no other host is answered."""
    for callback in (USERS_HOST, "mallory.hub.test", HOST):
        found = []
        for hub in (ours, stock):
            client = f"client_id=jupyterhub-user-{quote(quote(USER))}&response_type=code&state=x"
            target = quote(f"http://{callback}:{hub.port}/user/{quote(USER, safe='@')}/oauth_callback", safe="")
            found.append(await hub.leads(HOST, f"/hub/api/oauth2/authorize?{client}&redirect_uri={target}"))
        assert found[0] == found[1]
        assert found[0][0] == (302 if callback == USERS_HOST else 400)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_service_is_at_a_host_of_its_own(ours, stock):
    for hub in (ours, stock):
        assert await hub.get(SERVICES_HOST, "/services/wiki/") == (200, "wiki")
        assert await hub.get(USERS_HOST, "/services/wiki/") != (200, "wiki")


@pytest.mark.asyncio(loop_scope="module")
async def test_only_the_sessions_name_leaves_the_hubs_host(ours, stock):
    assert (
        ours.cookies
        == stock.cookies
        == {
            "jupyterhub-session-id": (HOST, "/"),
            "jupyterhub-hub-login": (HOST, "/hub/"),
        }
    )
    sent = ours.session.cookie_jar.filter_cookies(URL(f"http://{USERS_HOST}/hub/"))
    assert set(sent) == {"jupyterhub-session-id"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_server_is_told_the_same_addresses(ours, stock):
    assert ours.environment == stock.environment
    assert ours.environment["JUPYTERHUB_HOST"] == "http://hub.test:PORT"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_api_says_the_same_addresses(ours, stock):
    path = f"/hub/api/users/{USER}"
    models = [json.loads((await hub.get(HOST, path))[1]) for hub in (ours, stock)]
    assert models[0]["server"] == models[1]["server"]
    names = ["url", "full_url", "progress_url", "full_progress_url"]
    servers = [{name: model["servers"][""][name] for name in names} for model in models]
    assert servers[0] == servers[1]
    progress = [(await hub.get(HOST, f"{path}/server/progress"))[1].strip() for hub in (ours, stock)]
    assert json.loads(progress[0].removeprefix("data: ")) == json.loads(progress[1].removeprefix("data: "))


@pytest.mark.asyncio(loop_scope="module")
async def test_pages_of_the_hub_are_on_its_own_host_only(ours):
    """A login elsewhere would put the hub's cookies within reach of a user's scripts. Stock hubs only warn."""
    assert await ours.leads(USERS_HOST, "/hub/home?x=1") == (302, "http://hub.test:PORT/hub/home?x=1")
    authorize = "/hub/api/oauth2/authorize?client_id=x"
    assert await ours.leads(USERS_HOST, authorize) == (302, f"http://hub.test:PORT{authorize}")
    assert (await ours.leads(USERS_HOST, "/hub/login", "POST"))[0] == 403
    assert (await ours.leads(USERS_HOST, "/hub/api/"))[0] == 200
