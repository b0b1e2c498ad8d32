"""Hubs that freeze, wake, die and come back, as users behind a proxy see it: they are never what finds out.

The proxy's clock is moved by hand; a frozen hub takes connections and says nothing.
"""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web

from perijove.proxy import hub_watch
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

HEALTH = "/hub/health"
GET = b"GET /hub/home HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /hub/login HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\nContent-Length: 4\r\n\r\nbody"


class Behaviour:
    """What a hub does with requests: nothing while it is frozen, and less than all in other ways."""

    def __init__(self, hub, name):
        self.hub = hub
        self.name = name
        self.awake = asyncio.Event()
        self.awake.set()
        self.works = asyncio.Event()
        self.works.set()
        self.away = False
        self.breaks = False
        hub.answer = self._answer

    async def _answer(self, request):
        await self.awake.wait()
        if request.path != HEALTH:
            await self.works.wait()
            if self.breaks:
                request.transport.abort()
        headers = {"X-Perijove-Away": "1"} if self.away else {}
        return web.Response(text=self.name, headers=headers)

    def asked(self, path=None):
        """How often, for pages unless told otherwise."""
        return sum(request.path == path if path else request.path != HEALTH for request in self.hub.requests)


class Watched:
    """A proxy before two hubs, and its clock, which only `later` moves."""

    def __init__(self, proxy, hubs):
        self.proxy = proxy
        self.hubs = hubs
        self.now = proxy.plane.time()
        proxy.plane.time = lambda: self.now

    def later(self, seconds):
        """Move the clock in steps in which the proxy looks at its hubs."""
        until_then = self.now + seconds
        while self.now < until_then:
            self.now = min(until_then, self.now + 0.25)
            self.look()

    def look(self):
        self.proxy.plane.hub_watch.look(self.now)

    def waiting_for(self, hub):
        """Requests that were sent to this hub and have no answer."""
        exchanges = [client.exchange for client in self.proxy.plane.clients if client.exchange is not None]
        upstreams = [exchange.upstream for exchange in exchanges if exchange.upstream is not None]
        return [one for one in upstreams if one.pool.target.port == hub.hub.port]

    def doubts(self, hub):
        pools = self.proxy.plane.upstreams.hubs
        return any(pools.doubts(pool) for pool in pools if pool.target.port == hub.hub.port)

    async def rests(self):
        """No probe is under way."""
        await until(lambda: all(one.asked is None for one in self.proxy.plane.hub_watch._watched.values()), every=0)

    async def probed(self, hub, times):
        await until(lambda: hub.asked(HEALTH) >= times)

    async def stalls(self, client, hub, data):
        """Ask until it is `hub` that was asked, and does not answer."""
        while True:
            await client.send(data)
            answer = asyncio.ensure_future(client.answer())
            await until(lambda answer=answer: answer.done() or self.waiting_for(hub))
            if not answer.done():
                return answer


@asynccontextmanager
async def two_hubs():
    async with fake_hub() as one, fake_hub() as two:
        hubs = [Behaviour(one, "one"), Behaviour(two, "two")]
        async with serve_proxy(one, hub_urls=[one.url, two.url]) as proxy, wire(proxy) as client:
            try:
                yield Watched(proxy, hubs), client, *hubs
            finally:
                for hub in hubs:
                    hub.awake.set()
                    hub.works.set()


@pytest.fixture(autouse=True)
def looks_by_hand(monkeypatch):
    """The proxy looks at its hubs when a test says so."""
    monkeypatch.setattr(hub_watch, "_LOOK_SECONDS", 3600)


async def frozen_and_doubted(watched, client, hub):
    """A read met the frozen hub, and was answered by the other."""
    hub.awake.clear()
    answer = await watched.stalls(client, hub, GET)
    watched.later(0.5)
    await watched.probed(hub, 1)
    watched.later(1)
    assert (await answer).status == 200
    assert watched.doubts(hub)


async def test_a_read_at_a_frozen_hub_is_answered_by_another_after_a_second_and_a_half():
    """Half a second until the hub is asked how it is, one for it to answer."""
    async with two_hubs() as (watched, client, one, two):
        one.awake.clear()
        answer = await watched.stalls(client, one, GET)
        before = two.asked()
        watched.later(0.5)
        await watched.probed(one, 1)
        watched.later(0.75)
        assert not answer.done()
        watched.later(0.25)
        assert (await answer).body == b"two"
        assert two.asked() == before + 1


async def test_while_another_hub_is_good_nobody_is_sent_to_one_in_doubt_however_long_it_lasts():
    """Probes are the proxy's own, one at a time."""
    async with two_hubs() as (watched, client, one, _):
        await frozen_and_doubted(watched, client, one)
        asked = one.asked()
        for _ in range(20):
            watched.later(5)
            assert (await client.ask(GET)).body == b"two"
        assert one.asked() == asked
        assert one.asked(HEALTH) == 1


async def test_a_hub_that_wakes_is_used_again():
    """The probe that waits is answered late: it is asked once more at once, and then is good."""
    async with two_hubs() as (watched, client, one, _):
        await frozen_and_doubted(watched, client, one)
        watched.later(5)
        one.awake.set()
        await until(lambda: watched.look() or not watched.doubts(one))
        assert {(await client.ask(GET)).body for _ in range(4)} == {b"one", b"two"}


async def test_a_slow_hub_that_says_how_it_is_is_left_alone():
    """A read that takes long is not asked twice: that would double the work of hubs that have too much of it."""
    async with two_hubs() as (watched, client, one, two):
        one.works.clear()
        answer = await watched.stalls(client, one, GET)
        before = two.asked()
        for number in range(10):
            watched.later(1)
            await watched.probed(one, number + 1)
            await watched.rests()
        one.works.set()
        assert (await answer).body == b"one"
        assert two.asked() == before


async def test_what_may_have_happened_is_not_repeated_and_waits_longer():
    """A hub that stood still for a moment answers it; one that does not is given up, with when to come again."""
    async with two_hubs() as (watched, client, one, two):
        one.awake.clear()
        answer = await watched.stalls(client, one, POST)
        before = two.asked()
        watched.later(0.5)
        await watched.probed(one, 1)
        watched.later(3)
        assert watched.doubts(one)
        assert not answer.done()
        one.awake.set()
        assert (await answer).body == b"one"
        await until(lambda: watched.look() or not watched.doubts(one))
        one.awake.clear()
        asked = one.asked(HEALTH)
        answer = await watched.stalls(client, one, POST)
        watched.later(1)
        await watched.probed(one, asked + 1)
        watched.later(4)
        told = await answer
        assert (told.status, told.field("retry-after")) == (503, "5")
        assert two.asked("/hub/login") <= before + 2


async def test_a_dead_hub_is_probed_with_growing_pauses_and_none_too_long():
    """It could be refused four times a second for hours; and proxies that lost it together do not ask it together."""
    asked = 0

    async def dies(reader, writer):
        nonlocal asked
        asked += 1

    async with fake_hub() as hub, target(dies) as dead:
        good = Behaviour(hub, "good")
        async with serve_proxy(hub, hub_urls=[hub.url, dead]) as proxy, wire(proxy) as client:
            watched = Watched(proxy, [good])
            # Whatever the proxy itself wants of it, to follow its routes, is over.
            while not proxy.plane.upstreams.hubs.all_doubted and not asked:
                assert (await client.ask(GET)).body == b"good"
            asked_at = []
            for _ in range(480):
                before = asked
                watched.later(0.25)
                await watched.rests()
                if asked > before:
                    asked_at.append(watched.now)
            assert (await client.ask(GET)).body == b"good"
    pauses = [later - sooner for sooner, later in pairwise(asked_at)]
    assert pauses[0] < 0.6
    assert max(pauses) <= 5.25
    settled = pauses[8:]
    assert min(settled) >= 2.5
    assert len(set(settled)) > 1


async def test_a_hub_that_answers_probes_alone_is_tried_ever_less():
    """Its health is well and its pages are not: each return of it costs a read one more attempt, not each second."""
    async with two_hubs() as (watched, client, one, _):
        tried = []
        one.breaks = True
        for _ in range(160):
            before = one.asked()
            watched.later(0.25)
            await watched.rests()
            for _ in range(2):
                assert (await client.ask(GET)).body == b"two"
            tried += [watched.now] * (one.asked() - before)
        assert 3 < len(tried) < 20
        assert tried[-1] - tried[-2] > 2


async def test_a_hub_without_its_database_says_so_to_a_probe_and_is_left_until_it_has_it():
    async with two_hubs() as (watched, client, one, _):
        one.away = True
        while not watched.doubts(one):
            assert (await client.ask(GET)).body == b"two"
        asked = one.asked()
        for _ in range(20):
            watched.later(1)
            await watched.rests()
            assert (await client.ask(GET)).body == b"two"
        assert one.asked() == asked
        one.away = False
        watched.later(5)
        await until(lambda: watched.look() or not watched.doubts(one))
        assert {(await client.ask(GET)).body for _ in range(4)} == {b"one", b"two"}


async def test_with_every_hub_in_doubt_requests_are_tried_and_whoever_answers_is_good():
    async with two_hubs() as (watched, client, one, two):
        for hub in (one, two):
            await hub.hub.stop()
        assert (await client.ask(GET)).status == 503
        assert watched.doubts(one)
        assert watched.doubts(two)
        await two.hub.start()
        assert (await client.ask(GET)).body == b"two"
        assert watched.doubts(one)
        assert not watched.doubts(two)
        assert {(await client.ask(GET)).body for _ in range(4)} == {b"two"}


async def test_an_only_hub_that_is_frozen_is_given_up_and_used_the_moment_that_it_wakes():
    """There is nobody else to ask: a read is sent once more, since one address may stand for several hubs."""
    async with fake_hub() as only:
        hub = Behaviour(only, "only")
        async with serve_proxy(only) as proxy, wire(proxy) as client:
            watched = Watched(proxy, [hub])
            hub.awake.clear()
            answer = await watched.stalls(client, hub, GET)
            watched.later(0.5)
            await watched.probed(hub, 1)
            watched.later(4)
            await until(lambda: hub.asked() == 2 and watched.waiting_for(hub))
            watched.later(2)
            assert (await answer).status == 503
            hub.awake.set()
            assert (await client.ask(GET)).body == b"only"
