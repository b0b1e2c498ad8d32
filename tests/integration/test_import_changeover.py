"""A stock JupyterHub 6 is replaced while its users' servers run, and they notice nothing."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from yarl import URL

from perijove.testing.api import ApiClient
from perijove.testing.browser import Browser
from perijove.testing.hub import OPEN, RunningHub, is_alive, run_hub
from perijove.testing.kernels import execute, start_kernel
from perijove.testing.stock_hub import StockHub, stock_hub
from perijove.testing.waiting import until

CHP = [sys.executable, "-P", "-m", "perijove.cli.chp"]
ADMIN = "a-token-that-somebody-wrote-into-the-configuration"
WIKI = "another-token-that-somebody-wrote-there"
CRYPT_KEY = "5d" * 32
STOCK = f"""
c.JupyterHub.cleanup_servers = False
c.JupyterHub.allow_named_servers = True
c.Authenticator.admin_users = {{"boss"}}
c.Authenticator.enable_auth_state = True
c.Spawner.environment = {{
    "JUPYTERHUB_ACTIVITY_INTERVAL": "1",
    # Starts in half the time of a laboratory.
    "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp",
}}
c.JupyterHub.load_groups = {{"physics": {{"users": ["ada"], "properties": {{"quota": 3}}}}}}
c.JupyterHub.services = [
    {{"name": "setup", "api_token": "{ADMIN}"}},
    {{"name": "wiki", "api_token": "{WIKI}", "oauth_client_id": "service-wiki",
     "oauth_redirect_uri": "http://127.0.0.1:9/callback"}},
]
c.JupyterHub.load_roles = [
    {{"name": "admin", "services": ["setup"]}},
    {{"name": "readers", "scopes": ["list:users", "read:users:name"], "users": ["ada"], "groups": ["physics"]}},
]
"""
# What the same hub says in our words; `readers` only the database knows.
OURS: Mapping[str, Any] = {
    "hub": {
        "config": {
            **OPEN["hub"]["config"],
            "JupyterHub": {**OPEN["hub"]["config"]["JupyterHub"], "allow_named_servers": True},
            "Authenticator": {"allow_all": True, "enable_auth_state": True},
        },
        "services": {
            "wiki": {
                "apiToken": WIKI,
                "oauth_client_id": "service-wiki",
                "oauth_redirect_uri": "http://127.0.0.1:9/callback",
            }
        },
    }
}


async def started(api: ApiClient, path: str) -> None:
    answer = await api("POST", f"/users/{path}")
    assert answer.status in (201, 202), answer.text
    user, _, rest = path.partition("/")
    name = rest.partition("/")[2]

    async def ready() -> bool:
        return (await api("GET", f"/users/{user}")).json["servers"].get(name, {}).get("ready", False)

    await until(ready, seconds=60, every=0.1)


async def server_process(api: ApiClient, user: str, name: str) -> psutil.Process:
    state = (await api("GET", f"/users/{user}")).json["servers"][name]["state"]
    return psutil.Process(state["pid"])


async def perijove(hub: RunningHub, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """A command on this hub's database: exit code, and what it said."""
    files = [argument for file in hub.files for argument in ("-f", str(file))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "perijove.cli", *arguments, *files, "--data-dir", str(hub.data_dir)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=hub.data_dir,
        env={**hub.environment, "PATH": "/usr/bin:/bin", "COLUMNS": "200", **(environment or {})},
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def fill(stock: StockHub, api: ApiClient, visitor: Browser) -> dict[str, str]:
    """Users, servers and tokens; returns the tokens that people hold."""
    await api("POST", "/users", {"usernames": ["ada", "grace", "boss"]})
    await asyncio.gather(started(api, "ada/server"), started(api, "grace/servers/gpu"))
    held = {}
    for name, body in {
        "ada": {"note": "ada's script"},
        "narrow": {"note": "narrow", "scopes": ["read:users:name!user"]},
        "revoked": {"note": "soon revoked"},
    }.items():
        answer = await api("POST", "/users/ada/tokens", body)
        held[name] = answer.json["token"]
        held[f"{name}-id"] = answer.json["id"]
    await api("DELETE", f"/users/ada/tokens/{held['revoked-id']}")
    held["boss"] = (await api("POST", "/users/boss/tokens", {})).json["token"]
    await api("POST", "/shares/ada/", {"user": "grace"})
    # A browser that is logged in to ada's server by its own cookie.
    await visitor.log_in("ada")
    response, _ = await visitor.get("/user/ada/api/status")
    assert response.status == 200
    assert (await api("PATCH", "/users/ada", {"auth_state": {"refresh_token": "sesame"}})).status == 200
    return held


async def test_servers_tokens_and_logins_to_servers_survive_the_change_from_jupyterhub(tmp_path: Path):
    (tmp_path / "stock").mkdir()
    crypt = {"JUPYTERHUB_CRYPT_KEY": CRYPT_KEY}
    async with (
        stock_hub(tmp_path / "stock", CHP, more=STOCK, environment=crypt) as stock,
        run_hub(OURS, start=False, environment=crypt) as hub,
        aiohttp.ClientSession() as session,
        Browser(stock.url) as visitor,
        ApiClient(stock.url, ADMIN) as api,
    ):
        hub.port, hub.hub_port = URL(stock.url).port, stock.hub_port
        try:
            held = await fill(stock, api, visitor)
            mine = {"Authorization": f"token {held['ada']}"}
            kernel = await start_kernel(session, f"{stock.url}user/ada/", headers=mine)
            assert await execute(
                session, f"{stock.url}user/ada/", kernel, "globals().setdefault('x', 41)", headers=mine
            )
            before = {user: await server_process(api, user, name) for user, name in (("ada", ""), ("grace", "gpu"))}
            database = tmp_path / "stock" / "hub.sqlite"

            stock.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(stock.process.wait(), 30)
            code, said = await perijove(hub, "db", "import-jupyterhub", f"sqlite:///{database}", "--yes")
            assert code == 0, said
            assert "2  running servers" in said
            assert "1  auth states" in said

            await hub.start()
            await same_servers(hub, session, held, kernel, before)
            await logins_go_on(hub, visitor)
            await who_is_who(hub, held)
            await activity_is_posted(hub, session, kernel, mine)
            for user, path in (("ada", "server"), ("grace", "servers/gpu")):
                status, body = await hub.api("DELETE", f"/users/{user}/{path}")
                assert status in (202, 204), body
                await until(lambda user=user: not is_alive(before[user]), seconds=20)
        finally:
            # No hub stops the servers of a test that fails before ours has started.
            for process in hub.user_processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()


async def same_servers(
    hub: RunningHub,
    session: aiohttp.ClientSession,
    held: Mapping[str, str],
    kernel: str,
    before: Mapping[str, psutil.Process],
) -> None:
    """Through our proxy, by the tokens of before, with the kernels of before."""
    mine = {"Authorization": f"token {held['ada']}"}
    ada = f"{hub.url}user/ada/"
    assert await execute(session, ada, kernel, "x + 1", headers=mine) == "42"
    boss = {"Authorization": f"token {held['boss']}"}
    async with session.get(f"{hub.url}user/grace/gpu/api/status", headers=boss) as response:
        assert response.status == 200, await response.text()
    assert all(is_alive(process) for process in before.values())
    for user, name in (("ada", ""), ("grace", "gpu")):
        _, body = await hub.api("GET", f"/users/{user}")
        assert body["servers"][name]["ready"]


async def logins_go_on(hub: RunningHub, visitor: Browser) -> None:
    """The server's own cookie, and the OAuth round trip of somebody new, by the client secret of before."""
    response, _ = await visitor.get("/user/ada/api/status", allow_redirects=False)
    assert response.status == 200
    async with hub.browser() as newcomer:
        await newcomer.log_in("ada")
        await newcomer.get("/user/ada/files/nothing")
        response, _ = await newcomer.get("/user/ada/api/status", allow_redirects=False)
        assert response.status == 200


async def who_is_who(hub: RunningHub, held: Mapping[str, str]) -> None:
    status, ada = await hub.api("GET", "/user", token=held["ada"])
    assert status == 200
    assert (ada["name"], ada["admin"], ada["groups"]) == ("ada", False, ["physics"])
    assert "readers" in ada["roles"]
    assert "list:users" in ada["scopes"]
    assert (await hub.api("GET", "/users", token=held["ada"]))[0] == 200
    status, narrow = await hub.api("GET", "/user", token=held["narrow"])
    assert status == 200
    assert "list:users" not in narrow["scopes"]
    assert (await hub.api("GET", "/user", token=held["revoked"]))[0] in (401, 403)
    status, boss = await hub.api("GET", "/user", token=held["boss"])
    assert boss["admin"]
    _, groups = await hub.api("GET", "/groups")
    assert {group["name"]: group.get("properties") for group in groups}["physics"] == {"quota": 3}
    _, full = await hub.api("GET", "/users/ada", token=held["boss"])
    assert full["auth_state"] == {"refresh_token": "sesame"}
    status, wiki = await hub.api("GET", "/user", token=WIKI)
    assert (status, wiki["kind"], wiki["name"]) == (200, "service", "wiki")
    _, tokens = await hub.api("GET", "/users/ada/tokens", token=held["boss"])
    assert "ada's script" in json.dumps(tokens)


async def activity_is_posted(
    hub: RunningHub, session: aiohttp.ClientSession, kernel: str, mine: Mapping[str, str]
) -> None:
    """By the server itself, with the token it was started with."""

    async def seen() -> str:
        return (await hub.api("GET", "/users/ada"))[1]["servers"][""]["last_activity"]

    before = await seen()
    await execute(session, f"{hub.url}user/ada/", kernel, "x + 1", headers=mine)

    async def later() -> bool:
        return await seen() > before

    await until(later, seconds=30, every=0.2)
