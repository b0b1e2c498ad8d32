"""A hub on PostgreSQL and one on MariaDB, as their users see them: what a page or a call needs of SQL works."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from copy import deepcopy
from itertools import cycle
from pathlib import Path

import pytest

from perijove.testing.hub import OPEN, run_hub
from perijove.testing.waiting import until

TINY = Path(__file__).parent / "tiny_server.py"
SPELLINGS = {"postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql"}


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    return request.getfixturevalue(request.param)


def config_on(server, url: str, starts: Path) -> dict:
    """As z2jh writes it: the blocking driver in the URL, the password apart from it."""
    config = deepcopy(json.loads(json.dumps(OPEN)))
    scheme, _, rest = url.partition("://")
    bare = f"{SPELLINGS[scheme]}://{rest.replace(f':{server.password}@', '@')}"
    kind = "postgres" if scheme == "postgresql" else "mysql"
    config["hub"]["db"] = {"type": kind, "url": bare, "password": server.password}
    config["hub"]["config"]["JupyterHub"] |= {"allow_named_servers": True, "db_kwargs": {"pool_size": 3}}
    roles = {"sharing": {"scopes": ["shares", "list:services", "read:users:activity"], "services": ["testing"]}}
    config["hub"]["loadRoles"] = roles
    spawner = {"cmd": [sys.executable, str(TINY)], "environment": {"TEST_STARTS": str(starts)}}
    config["hub"]["config"]["Spawner"] = spawner
    return config


@asynccontextmanager
async def two_hubs(server, starts: Path):
    """On one database of their own; requests go to each in turn."""
    config = config_on(server, server.create_database(), starts)
    async with run_hub(config, start=False) as one, run_hub(config, start=False) as two:
        # The hub that starts last says which token the service has.
        two.token = one.token
        two.files[1].write_text(one.files[1].read_text())
        await asyncio.gather(one.start(), two.start())
        yield one, two


async def test_the_most_travelled_paths_work_on_every_database_through_any_of_two_hubs(server, tmp_path):
    async with two_hubs(server, tmp_path) as hubs:
        turn = cycle(hubs)

        async def call(method: str, path: str, body=None, *, status: int | None = 200, token: str = ""):
            hub = next(turn)
            got, answer = await hub.api(method, path, body, token=token)
            assert got == status or (status is None and got < 300), (
                f"{method} {path}: {got} {answer}\n{hub.log[-3000:]}"
            )
            return answer

        async def users(query: str) -> list[str]:
            return [user["name"] for user in await call("GET", f"/users?{query}")]

        # -- users, groups, lists with filters and pages
        await call("POST", "/users", {"usernames": ["ada", "adä", "bob"]}, status=201)
        await call("POST", "/users", {"usernames": ["ada"]}, status=409)
        assert await users("sort=name") == ["ada", "admin", "adä", "bob"]
        assert await users("name_filter=AD&sort=id&limit=2&offset=1") == ["ada", "adä"]
        assert len(await users("sort=-last_activity")) == 4
        assert await users("state=active") == await users("state=ready") == []
        await call("POST", "/groups/makers", status=201)
        await call("POST", "/groups/makers/users", {"users": ["ada", "bob"]})
        await call("PUT", "/groups/makers/properties", {"b": 1, "a": {"ü": [None]}})
        (group,) = await call("GET", "/groups")
        assert (group["users"], group["properties"]) == (["ada", "bob"], {"b": 1, "a": {"ü": [None]}})
        await call("DELETE", "/groups/makers/users", {"users": ["bob"]})

        # -- a login, and servers with their progress
        async with hubs[0].browser() as browser:
            assert (await browser.log_in("ada"))[0] == 200
        token = await call("POST", "/users/ada/tokens", {"note": "mine", "expires_in": 3600}, status=201)
        me = await call("GET", "/user", token=token["token"])
        assert (me["name"], me["groups"]) == ("ada", ["makers"])
        await call("POST", "/users/ada/server", token=token["token"], status=None)
        for hub in hubs:
            told = await progress(hub, "ada", token["token"])
            assert told[-1].get("ready"), f"{told}\n{hub.log[-3000:]}"
        assert await users("state=ready") == await users("state=active") == ["ada"]
        at = {"last_activity": "2026-01-02T03:04:05.123456Z"}
        await call("POST", "/users/ada/activity", {**at, "servers": {"": at}})
        await call("POST", "/users/ada/servers/gpu", status=None)
        await until(lambda: ready(hubs[1], "ada", "gpu"), seconds=30)

        # -- shares
        await call("POST", "/shares/ada/", {"user": "bob"})
        assert (await call("GET", "/shares/ada/"))["items"][0]["user"]["name"] == "bob"
        await call("POST", "/share-codes/ada/", {})
        await call("PATCH", "/shares/ada/", {"user": "bob"})

        # -- ends: a token, which the other hub hears of within a second; servers; a user and all that was theirs
        one, two = hubs
        assert (await two.api("GET", "/user", token=token["token"]))[0] == 200
        assert (await one.api("DELETE", f"/users/ada/tokens/{token['id']}"))[0] == 204
        revoked = asyncio.get_running_loop().time()
        await until(lambda: refused(two, token["token"]), seconds=5)
        assert asyncio.get_running_loop().time() - revoked < 1
        await call("DELETE", "/users/ada/server", status=None)
        await call("DELETE", "/users/ada/servers/gpu", {"remove": True}, status=None)
        await until(lambda: stopped(one, "ada"), seconds=30)
        await call("DELETE", "/users/ada", status=204)
        assert await users("sort=id") == ["admin", "adä", "bob"]
        await call("DELETE", "/groups/makers", status=204)
        for hub in hubs:
            assert "Traceback" not in hub.log
            assert server.password not in hub.log


async def refused(hub, token: str) -> bool:
    return (await hub.api("GET", "/user", token=token))[0] == 403


async def progress(hub, user: str, token: str) -> list[dict]:
    async with (
        hub.browser() as browser,
        browser.session.get(
            f"{hub.url}hub/api/users/{user}/server/progress", headers={"Authorization": f"token {token}"}
        ) as response,
    ):
        assert response.status == 200
        lines = (await response.text()).splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


async def ready(hub, user: str, name: str) -> bool:
    _, model = await hub.api("GET", f"/users/{user}")
    return bool(model["servers"].get(name, {}).get("ready"))


async def stopped(hub, user: str) -> bool:
    _, model = await hub.api("GET", f"/users/{user}")
    return not model["pending"] and not any(
        server["ready"] or server["pending"] for server in model["servers"].values()
    )


async def test_without_its_database_a_hub_answers_503_to_everybody_and_recovers_by_itself(own_server, tmp_path):
    config = config_on(own_server, own_server.create_database(), tmp_path)
    async with run_hub(config) as hub, hub.browser() as browser, hub.browser() as stranger:
        assert (await browser.log_in("ada"))[0] == 200

        async def answers() -> dict[str, tuple[int, str]]:
            headers = {"Authorization": f"token {hub.token}"}
            found = {}
            for who, method, path, options in (
                (browser, "GET", "hub/home", {}),
                (browser, "GET", "hub/token", {}),
                (browser, "GET", "hub/api/user", {}),
                (browser, "GET", "hub/user/ada/", {}),
                (stranger, "GET", "hub/api/users", {"headers": headers}),
                (stranger, "POST", "hub/api/users/eve", {"headers": headers}),
                (stranger, "GET", "hub/api/user", {"headers": {"Authorization": "token " + "0" * 32}}),
            ):
                address = f"{hub.url}{path}"
                async with who.session.request(method, address, allow_redirects=False, **options) as response:
                    found[f"{method} {path}"] = response.status, response.headers.get("Retry-After", "")
            return found

        await asyncio.to_thread(own_server.kill)
        for name, (status, retry_after) in (await answers()).items():
            assert status == 503, f"{name}: {status}\n{hub.log[-3000:]}"
            assert int(retry_after) > 0, name
        await asyncio.to_thread(own_server.start)
        page, _ = await browser.get("hub/home")
        assert (page.status, page.url.path) == (200, "/hub/home"), "still logged in"
        assert (await hub.api("POST", "/users/eve"))[0] == 201
        assert "Traceback" not in hub.log
        assert own_server.password not in hub.log
