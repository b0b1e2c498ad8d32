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


@pytest.fixture
def new_landscape(new_cluster):
    """Places for hubs and proxies behind two balancers, twice as many as serve: for what is next."""
    with run_service() as hubs, run_service() as front:

        def make(database, *, proxies):
            ways = {"hub_urls": [hubs.url], "links": False, "drain_seconds": DRAIN_SECONDS}
            cluster = new_cluster(database, hubs=4, proxies=proxies, start=False, **ways)
            return Landscape(cluster, hubs, front)

        yield make


class Landscape:
    """What a Deployment and a Service do, for hubs and for proxies."""

    def __init__(self, cluster, hubs, front):
        self.cluster = cluster
        self.services = {"hub": hubs, "proxy": front}
        self.serving = {"hub": [], "proxy": []}

    async def open(self):
        """Of this release, half of all places; and who comes there."""
        for hub in self.cluster.hubs[:2]:
            await self.begin("hub", hub)
        for proxy in self.cluster.proxies[: max(1, len(self.cluster.proxies) // 2)]:
            await self.begin("proxy", proxy)
        return Load(self.services["proxy"], self.cluster.token)

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
        if kind == "proxy":
            load.overdue[replica.port] = asyncio.get_running_loop().time() + DRAIN_SECONDS
        replica.process.send_signal(signal.SIGTERM)
        await until(lambda: replica.ended, seconds=30)
        assert replica.process.returncode == 0, replica.log[-3000:]

    async def roll(self, kind, new, load, release):
        """One more before one less, as `maxSurge: 1, maxUnavailable: 0` has it, until everything is done anew."""
        for old, fresh in zip(list(self.serving[kind]), new, strict=True):
            await self.begin(kind, fresh, release)
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


async def test_nobody_notices_a_rolling_upgrade(new_landscape, releases):
    """Two releases, one that expands the schema and one that contracts it: no request fails, no websocket is cut
    but those that outlast the time their proxy has to drain."""
    landscape = new_landscape("postgres", proxies=4)
    cluster, (later, latest) = landscape.cluster, releases
    load = await landscape.open()
    async with load.on():
        await landscape.under_load(load)
        assert await landscape.versions() == [perijove.__version__] * 2
        await landscape.roll("hub", cluster.hubs[2:], load, later)
        assert await landscape.versions() == ["1000"] * 2
        await landscape.roll("proxy", cluster.proxies[2:], load, later)
        await landscape.roll("hub", cluster.hubs[:2], load, latest)
        assert await landscape.versions() == ["1001"] * 2
    assert load.failures == []
    assert set(load.cut) <= {proxy.port for proxy in cluster.proxies[:2]}
    # Where nothing was cut, nothing lasted long enough to show that the rest was left alone.
    assert load.cut
    # The new release has used what it added, and nobody needs what it dropped.
    assert (await cluster.rows(text("SELECT count(*) FROM servers WHERE wished_by IS NOT NULL")))[0][0]
    await refused(cluster.hubs[3])


async def refused(hub):
    """The release from before cannot come back: it would write what is no longer there."""
    hub.environment = {key: value for key, value in hub.environment.items() if key != "PYTHONPATH"}
    hub.start()
    await until(lambda: hub.ended, seconds=30)
    assert hub.process.returncode != 0
    assert "upgraded by a newer Perijove" in " ".join(hub.log.split())


async def test_nobody_notices_a_migration_on_mariadb(new_landscape, releases):
    """Where each change of a table is committed by itself: hubs of both releases use the schema at once."""
    landscape = new_landscape("mariadb", proxies=1)
    load = await landscape.open()
    async with load.on():
        await landscape.under_load(load)
        await landscape.roll("hub", landscape.cluster.hubs[2:], load, releases[0])
        assert await landscape.versions() == ["1000"] * 2
    assert load.failures == []
    assert load.cut == []
