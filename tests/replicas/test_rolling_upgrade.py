"""An upgrade that nobody notices: hubs and proxies one by one, the schema under all of them, beside people at work."""

import asyncio
import signal

import pytest
from sqlalchemy import select, text

import perijove
from perijove.store.schema import replicas
from perijove.testing.service import run_service
from perijove.testing.upgrading.load import Load
from perijove.testing.upgrading.releases import contracting, expanding
from perijove.testing.waiting import until

DRAIN_SECONDS = 2.5
# What is done at least so many times between one step and the next.
EACH = 1
KINDS = ("log_in", "call_api", "post_activity", "spawn", "short_websocket", "long_websocket")


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    directory = tmp_path_factory.mktemp("releases")
    later = expanding(directory)
    return later, contracting(directory, later)


@pytest.fixture(params=["postgres", "mariadb"])
def landscape(request, new_cluster):
    """Four places for hubs and four for proxies behind two balancers: half of them are always free for what is next."""
    with run_service() as hubs, run_service() as front:
        cluster = new_cluster(
            request.param,
            hubs=4,
            proxies=4,
            links=False,
            hub_urls=[hubs.url],
            drain_seconds=DRAIN_SECONDS,
            start=False,
        )
        yield Landscape(cluster, hubs, front)


class Landscape:
    """What a Deployment and a Service do, for hubs and for proxies."""

    def __init__(self, cluster, hubs, front):
        self.cluster = cluster
        self.services = {"hub": hubs, "proxy": front}
        self.serving = {"hub": [], "proxy": []}

    async def begin(self, kind, replica, release=None):
        """A process more, which gets requests once it is ready."""
        if release is not None:
            replica.environment = {**replica.environment, "PYTHONPATH": str(release)}
        replica.start()
        await replica.ready()
        self.serving[kind].append(replica)
        self.services[kind].lead_to(*self.serving[kind])

    async def end(self, kind, replica, load):
        """A process less: it gets no new connections, and then is told to go."""
        self.serving[kind].remove(replica)
        self.services[kind].lead_to(*self.serving[kind])
        replica.process.send_signal(signal.SIGTERM)
        if kind == "proxy":
            await asyncio.sleep(DRAIN_SECONDS)
            load.overdue.add(replica.port)
        await until(lambda: replica.ended, seconds=30)
        assert replica.process.returncode == 0, replica.log[-3000:]

    async def roll(self, kind, new, load, release):
        """One more before one less, as `maxSurge: 1, maxUnavailable: 0` has it."""
        for old, fresh in zip(list(self.serving[kind]), new, strict=True):
            await self.begin(kind, fresh, release)
            await self.under_load(load)
            await self.end(kind, old, load)
        await self.under_load(load)

    async def under_load(self, load):
        load.done.clear()
        try:
            await load.reached(EACH, KINDS)
        finally:
            assert load.failures == []

    async def versions(self):
        return sorted(row.version for row in await self.cluster.rows(select(replicas.c.version)))


async def test_nobody_notices_a_rolling_upgrade(landscape, releases):
    """Two releases, one that expands the schema and one that contracts it: no request fails, no websocket is cut
    but those that outlast the time their proxy has to drain."""
    cluster, (later, latest) = landscape.cluster, releases
    for hub in cluster.hubs[:2]:
        await landscape.begin("hub", hub)
    for proxy in cluster.proxies[:2]:
        await landscape.begin("proxy", proxy)
    load = Load(landscape.services["proxy"], cluster.token)
    async with load.on():
        await landscape.under_load(load)
        assert await landscape.versions() == [perijove.__version__] * 2
        await landscape.roll("hub", cluster.hubs[2:], load, later)
        await landscape.roll("proxy", cluster.proxies[2:], load, later)
        assert await landscape.versions() == ["1000"] * 2
        await landscape.roll("hub", cluster.hubs[:2], load, latest)
        assert await landscape.versions() == ["1001"] * 2
    assert load.failures == []
    assert set(load.cut) <= {proxy.port for proxy in cluster.proxies[:2]}
    # Where nothing was cut, nothing lasted long enough to show that the rest was left alone.
    assert load.cut
    # The new release has used what it added, and nobody needs what it dropped.
    assert (await cluster.rows(text("SELECT count(*) FROM servers WHERE wished_by IS NOT NULL")))[0][0]
    before = cluster.hubs[3]
    before.environment = {key: value for key, value in before.environment.items() if key != "PYTHONPATH"}
    before.start()
    await until(lambda: before.ended, seconds=30)
    assert before.process.returncode != 0
    assert "upgraded by a newer Perijove" in " ".join(before.log.split())
