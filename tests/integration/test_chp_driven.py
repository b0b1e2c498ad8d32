"""Our hub with a stock configurable-http-proxy: its table is the rows', through restarts of either."""

import json
import sys
from pathlib import Path

import aiohttp
import pytest

from perijove.cli.listening import free_port
from perijove.testing import run_hub, until
from perijove.testing.browser import Browser
from perijove.testing.hub import OPEN
from perijove.testing.npm import NPMMissing, chp, chp_command

SMALL = Path(__file__).parents[1] / "contract" / "small_server.py"
TOKEN = "shared-by-hub-and-proxy"


def driven(api_port):
    hub = OPEN["hub"]
    classes = {
        **hub["config"],
        "JupyterHub": {**hub["config"]["JupyterHub"], "proxy_class": "configurable-http-proxy"},
        "ConfigurableHTTPProxy": {"api_url": f"http://127.0.0.1:{api_port}", "auth_token": TOKEN},
    }
    return {"hub": {"config": classes}, "singleuser": {"cmd": [sys.executable, str(SMALL)]}}


async def call(api_port, method="GET", path="", body=None):
    headers = {"Authorization": f"token {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"http://127.0.0.1:{api_port}/api/routes{path}", json=body) as response,
    ):
        text = await response.text()
        return json.loads(text) if method == "GET" else response.status


@pytest.fixture
async def ports():
    """Public and API port of a proxy that does not run yet."""
    try:
        await chp_command()
    except NPMMissing as error:
        pytest.skip(str(error))
    return free_port(), free_port()


async def test_a_stock_proxy_is_kept_equal_to_the_rows(ports):
    """Servers come and go through it; what it forgets in a restart is put back; foreign routes stay."""
    public, api = ports
    async with run_hub(driven(api)) as hub:
        errors = ("--error-target", f"{hub.hub_url}hub/error")
        async with chp(TOKEN, *errors, ports=ports):
            await until(lambda: _has(api, "/"))
            await call(api, "POST", "/foreign", {"target": "http://127.0.0.1:1"})
            await call(api, "POST", "/user/nobody", {"target": "http://127.0.0.1:1", "jupyterhub": True, "user": "x"})
            async with Browser(f"http://127.0.0.1:{public}/") as browser:
                await browser.log_in("ada b", path="/hub/login")
                assert (await hub.api("POST", "/users/ada%20b/server"))[0] in (201, 202)
                await until(lambda: _has(api, "/user/ada b"), seconds=20)
                assert (await browser.get("/user/ada%20b/"))[1] == "hello"
                await until(lambda: _lacks(api, "/user/nobody"))
                assert "/foreign" in await call(api)
                await until(lambda: _used(hub), seconds=20)
        async with chp(TOKEN, *errors, ports=ports):
            await until(lambda: _has(api, "/user/ada b"), seconds=20)
            async with Browser(f"http://127.0.0.1:{public}/") as browser:
                assert (await browser.get("/user/ada%20b/"))[1] == "hello"
                assert (await hub.api("DELETE", "/users/ada%20b/server"))[0] in (202, 204)
                await until(lambda: _lacks(api, "/user/ada b"))
                response, _ = await browser.get("/user/ada%20b/", allow_redirects=False)
                assert response.status in (302, 424)
        assert "Traceback" not in hub.log


async def _has(api, key):
    try:
        return key in await call(api)
    except (aiohttp.ClientError, json.JSONDecodeError):
        return False


async def _lacks(api, key):
    return key not in await call(api)


async def _used(hub):
    """What the proxy has seen of the user is in the rows."""
    _, user = await hub.api("GET", "/users/ada%20b")
    return user["servers"][""]["last_activity"] is not None


async def test_a_proxy_that_comes_later_is_filled_then(ports):
    """The hub starts without it, says so once, and goes on trying."""
    _, api = ports
    async with run_hub(driven(api)) as hub:
        await until(lambda: "cannot set the proxy's routes" in hub.log)
        async with chp(TOKEN, ports=ports):
            await until(lambda: _has(api, "/"))
            await until(lambda: "the proxy's routes are set again" in hub.log)
            assert hub.log.count("cannot set the proxy's routes") == 1


async def test_the_hub_is_told_where_another_proxy_is(ports):
    """`PATCH /proxy` points it at one that is somewhere else, with a token of its own."""
    moved = free_port(), free_port()
    async with run_hub(driven(ports[1])) as hub, chp(TOKEN, ports=moved):
        status, _ = await hub.api("PATCH", "/proxy", {"api_url": f"http://127.0.0.1:{moved[1]}", "auth_token": TOKEN})
        assert status == 200
        await until(lambda: _has(moved[1], "/"))
