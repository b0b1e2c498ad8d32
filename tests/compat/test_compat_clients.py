"""REST clients that deployments run: the stock idle culler, and a script that starts servers for a class."""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import requests

from perijove.testing import run_hub, until

SMALL = Path(__file__).parents[1] / "contract" / "small_server.py"
CULLER_SCOPES = ["list:users", "read:users:activity", "read:servers", "delete:servers", "admin:users"]


def config(**hub: object) -> dict:
    """Small servers: what is tested here is not the server."""
    return {
        "hub": {
            "allowNamedServers": True,
            "config": {
                "JupyterHub": {"authenticator_class": "dummy", "spawner_class": "simple"},
                "Authenticator": {"allow_all": True},
            },
            **hub,
        },
        "singleuser": {"cmd": [sys.executable, str(SMALL)]},
    }


async def ready(hub, user: str) -> set[str]:
    """Names of the user's servers that run."""
    _, model = await hub.api("GET", f"/users/{user}")
    return {name for name, server in model["servers"].items() if server["ready"]}


async def test_the_stock_idle_culler_stops_idle_servers_and_spares_the_others():
    """As a managed service, page by page, removing named servers and then the users that have none left."""
    command = [
        *(sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=4", "--cull-every=1", "--concurrency=2"),
        *("--remove-named-servers=true", "--cull-users=true", "--api-page-size=1"),
    ]
    services = {"culler": {"command": command}}
    roles = {"culler": {"scopes": CULLER_SCOPES, "services": ["culler"]}}
    async with run_hub(config(services=services, loadRoles=roles)) as hub:
        for path in ("ada/server", "ada/servers/gpu", "bob/server"):
            await hub.api("POST", f"/users/{path.partition('/')[0]}")
            status, answer = await hub.api("POST", f"/users/{path}")
            assert status in (201, 202), answer
        await until(lambda: all_ready(hub), seconds=20, every=0.1)

        async def culled() -> bool:
            await keep_busy(hub, "bob")
            _, users = await hub.api("GET", "/users")
            return [user["name"] for user in users] == ["bob"]

        await until(culled, seconds=30, every=0.25)
        assert await ready(hub, "bob") == {""}
        assert "Traceback" not in hub.log


async def all_ready(hub) -> bool:
    return (await ready(hub, "ada"), await ready(hub, "bob")) == ({"", "gpu"}, {""})


async def keep_busy(hub, user: str) -> None:
    now = datetime.now(UTC).isoformat()
    body = {"servers": {"": {"last_activity": now}}, "last_activity": now}
    status, _ = await hub.api("POST", f"/users/{user}/activity", body)
    assert status == 200


async def test_a_script_starts_a_server_follows_its_progress_and_uses_a_token_of_its_user():
    """Nothing but `requests`, as in the notebooks of people who teach."""
    async with run_hub(config()) as hub:
        await asyncio.to_thread(script, f"{hub.url}hub/api", hub.token)
        assert hub.user_processes() == []


def script(api: str, token: str) -> None:
    with requests.Session() as session:
        session.headers["Authorization"] = f"token {token}"
        made = session.post(f"{api}/users", json={"usernames": ["ada", "bob"]}, timeout=10)
        assert made.status_code == 201
        assert [user["name"] for user in made.json()] == ["ada", "bob"]
        assert session.post(f"{api}/users", json={"usernames": ["ada", "bob"]}, timeout=10).status_code == 409

        started = session.post(f"{api}/users/ada/servers/gpu", json={"size": "small"}, timeout=30)
        assert started.status_code in (201, 202)
        events = progress(session, f"{api}/users/ada/servers/gpu/progress")
        assert [event["progress"] for event in events] == sorted(event["progress"] for event in events)
        assert (events[-1]["progress"], events[-1]["ready"], events[-1]["url"]) == (100, True, "/user/ada/gpu/")
        server = session.get(f"{api}/users/ada", timeout=10).json()["servers"]["gpu"]
        assert (server["ready"], server["user_options"]) == (True, {"size": "small"})

        wanted = {"note": "class", "expires_in": 3600, "scopes": ["read:servers!user", "delete:servers!user"]}
        made = session.post(f"{api}/users/ada/tokens", json=wanted, timeout=10)
        assert made.status_code == 201
        as_ada(api, made.json()["token"])
        assert session.get(f"{api}/users/ada", timeout=10).json()["servers"] == {}

        token_id = made.json()["id"]
        assert session.delete(f"{api}/users/ada/tokens/{token_id}", timeout=10).status_code == 204
        assert session.get(f"{api}/users/ada/tokens/{token_id}", timeout=10).status_code == 404
        headers = {"Authorization": f"Bearer {made.json()['token']}"}
        assert requests.get(f"{api}/user", headers=headers, timeout=10).status_code == 403
        assert session.delete(f"{api}/users/ada", timeout=10).status_code == 204
        assert session.get(f"{api}/users/ada", timeout=10).status_code == 404


def as_ada(api: str, token: str) -> None:
    """What the user's own token may do: see and stop their server, and start none."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        assert session.get(f"{api}/user", timeout=10).json()["servers"]["gpu"]["ready"] is True
        assert session.post(f"{api}/users/ada/server", timeout=10).status_code == 403
        assert session.get(f"{api}/users/bob", timeout=10).status_code == 404
        stopped = session.delete(f"{api}/users/ada/servers/gpu", json={"remove": True}, timeout=30)
        assert stopped.status_code in (202, 204)
        # 202: it takes a while; asking again until it is gone is what clients do.
        deadline = time.monotonic() + 20
        while "gpu" in session.get(f"{api}/user", timeout=10).json()["servers"]:
            assert stopped.status_code == 202
            assert time.monotonic() < deadline


def progress(session: requests.Session, url: str) -> list[dict]:
    """Events until the stream ends, as the hub's own page reads them."""
    with session.get(url, stream=True, timeout=30) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data:")) for line in response.iter_lines(decode_unicode=True) if line]
