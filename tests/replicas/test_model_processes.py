"""The model's driver with real processes: fewer steps, but what is killed, frozen and cut off is what an operator runs.

`MODEL_SEED` and `MODEL_PROCESS_STEPS` choose another run, as for the model in one event loop.
"""

import asyncio
import os
import sys
from random import Random

import aiohttp
import pytest
from sqlalchemy import select

from perijove.store.schema import servers, tokens, users
from perijove.testing.waiting import until

DATABASE = "postgres"
STEPS = int(os.environ.get("MODEL_PROCESS_STEPS", "30"))
SEED = int(os.environ.get("MODEL_SEED", "1"))
PEOPLE = [f"eve{number}" for number in range(6)]
LIMIT = 4
REVOKED_SECONDS = 1
SETTLE_SECONDS = 90
# What a request may come to while anything may be dead: answered, refused, put off, or cut short.
_ANSWERS = {201, 202, 204, 400, 404, 409, 424, 429, 502, 503, 504}
WEIGHTS = {
    "start": 10,
    "stop": 5,
    "die": 3,
    "kill_hub": 2,
    "freeze_hub": 2,
    "kill_proxy": 1,
    "cut_database": 2,
    "silence_proxy": 2,
    "revoke": 3,
    "restart": 4,
}


@pytest.fixture(scope="module")
def shared(new_cluster):
    # None runs at once: this file's starts wait for nothing but what the driver does.
    return new_cluster("postgres", {"hub": {"activeServerLimit": LIMIT}}, hubs=2, proxies=2)


class Life:
    """One run."""

    def __init__(self, cluster, seed):
        self.cluster = cluster
        self.random = Random(seed)
        self.story = []
        self.hurt = []
        self.revoked = []

    async def run(self, steps):
        for _ in range(steps):
            [name] = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
            self.story.append(name)
            await getattr(self, name)()
            await self.check_limit()

    def living(self, replicas):
        return [replica for replica in replicas if not replica.ended and not replica.frozen]

    async def ask(self, method, path, **more):
        for proxy in self.living(self.cluster.proxies)[:1]:
            try:
                async with asyncio.timeout(3):
                    status, _ = await self.cluster.api(method, path, at=proxy, **more)
            except (aiohttp.ClientError, OSError, TimeoutError):
                return None
            assert status in _ANSWERS, f"{method} {path}: {status}"
            return status
        return None

    async def start(self):
        await self.ask("POST", f"/users/{self.random.choice(PEOPLE)}/server")

    async def stop(self):
        await self.ask("DELETE", f"/users/{self.random.choice(PEOPLE)}/server")

    async def die(self):
        if running := self.cluster.world.servers():
            self.cluster.world.kill(self.random.choice(running)["user"])

    async def kill_hub(self):
        if len(living := self.living(self.cluster.hubs)) > 1:
            self.random.choice(living).kill()

    async def kill_proxy(self):
        if len(living := self.living(self.cluster.proxies)) > 1:
            self.random.choice(living).kill()

    async def freeze_hub(self):
        """Past its lease, as others see it; it sleeps through the next steps."""
        if len(living := self.living(self.cluster.hubs)) > 1:
            self.random.choice(living).freeze()
            await self.cluster.expire_leases()

    async def cut_database(self):
        self.random.choice(self.cluster.hubs).database.cut()

    async def silence_proxy(self):
        self.random.choice(self.random.choice(self.cluster.proxies).links).silence()

    async def restart(self):
        """Who was dead, frozen or cut off works again."""
        await self.cluster.ready()
        time = asyncio.get_running_loop().time
        for token, revoked in self.revoked:
            for hub in self.cluster.hubs:

                async def refused(token=token, revoked=revoked, hub=hub):
                    asked = time()
                    status, _ = await self.cluster.api("GET", "/user", token=token, at=hub)
                    # Who asks later is not believed, however busy the machine: what a hub cannot check, it does not
                    # answer, so it may have to be asked again before it refuses.
                    assert status != 200 or asked - revoked < REVOKED_SECONDS, f"hub {hub.slot} believes it"
                    return status == 403

                await until(refused)

    async def revoke(self):
        """A token that is revoked at one hub while the others may be asleep."""
        for hub in self.living(self.cluster.hubs):
            status, made = await self.cluster.api("POST", f"/users/{PEOPLE[0]}/tokens", {}, at=hub)
            if status == 201:
                for other in self.living(self.cluster.hubs):
                    await self.cluster.api("GET", "/user", token=made["token"], at=other)
                path = f"/users/{PEOPLE[0]}/tokens/{made['id']}"
                if (await self.cluster.api("DELETE", path, at=hub))[0] == 204:
                    self.revoked.append((made["token"], asyncio.get_running_loop().time()))
                return

    async def check_limit(self):
        rows = await self.rows()
        active = [row for row in rows if row.observed != "stopped" or row.desired == "running"]
        assert len(active) <= LIMIT, f"{len(active)} servers are active, {LIMIT} may be"

    async def rows(self):
        columns = (servers.c.id, servers.c.desired, servers.c.observed, servers.c.url, users.c.name)
        return await self.cluster.rows(select(*columns).join(users, users.c.id == servers.c.user_id))

    async def settle(self):
        self.story.append("settle")
        await self.restart()
        await self.cluster.expire_leases()
        wrong = ["not looked yet"]

        async def right():
            wrong[:] = await self.wrong()
            return not wrong

        try:
            await until(right, seconds=SETTLE_SECONDS, every=0.2)
        except TimeoutError:
            pytest.fail("; ".join(wrong))

    async def wrong(self):
        """What is not as rows say."""
        rows = await self.rows()
        found = [f"{row.name}: wanted {row.desired}, is {row.observed}" for row in rows if row.desired != row.observed]
        running = {row.id: row for row in rows if row.observed == "running"}
        world = {server["server_id"]: server for server in self.cluster.world.servers()}
        if {key: row.url for key, row in running.items()} != {key: server["url"] for key, server in world.items()}:
            found.append(f"rows {sorted(running)} run, in the world {sorted(world)}")
        held = await self.cluster.rows(select(tokens.c.server_id).where(tokens.c.server_id.is_not(None)))
        if sorted(row.server_id for row in held) != sorted(running):
            found.append("credentials are not of those that run")
        return found or [line async for line in self.wrong_routes({row.name for row in running.values()})]

    async def wrong_routes(self, running):
        async with aiohttp.ClientSession() as session:
            for proxy in self.cluster.proxies:
                for name in PEOPLE:
                    url = f"{proxy.url}user/{name}/where"
                    async with session.get(url, allow_redirects=False) as response:
                        if (response.status == 200) != (name in running):
                            yield f"proxy {proxy.slot} answers {response.status} for {name}"


async def test_processes_that_are_killed_frozen_and_cut_off_leave_rows_world_and_routes_in_agreement(shared):
    await shared.ready()
    shared.world.clear()
    for name in PEOPLE:
        await shared.api("POST", f"/users/{name}")
    life = Life(shared, SEED)
    try:
        await life.run(STEPS)
        await life.settle()
    except BaseException:
        sys.stderr.write(f"MODEL_SEED={SEED}: {' '.join(life.story)}\n")
        raise
