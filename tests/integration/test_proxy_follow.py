"""The table follows the hub's through changes, outages, replicas and restarts."""

import asyncio
import json
import os
import stat

import pytest

from perijove.proxy import follow
from perijove.proxy.fetch import Patience
from perijove.proxy.options import ProxyTimeouts
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

ALICE = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n"


async def ok(reader, writer):
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def test_changes_arrive_by_the_watch():
    """Put, changed and deleted routes, without listing again."""
    async with fake_hub() as hub, target(ok) as url, serve_proxy(hub) as proxy, wire(proxy) as client:
        table = proxy.routing.table
        assert (await client.ask(ALICE)).json()["at"] == "hub"
        hub.change({"/user/al/": "http://127.0.0.1:1"})
        await until(lambda: "/user/al/" in table.routes)
        hub.change({"/user/al/": url})
        await until(lambda: table.routes["/user/al/"].target == url)
        assert (await client.ask(ALICE)).body == b"ok"
        hub.change(delete=("/user/al/",))
        await until(lambda: "/user/al/" not in table.routes)
        assert (await client.ask(ALICE)).json()["at"] == "hub"
        assert hub.lists == 1


async def test_a_request_under_way_outlives_its_route():
    """Only new requests see a change."""
    go = asyncio.Event()

    async def slow(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with fake_hub() as hub, target(slow) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            await client.send(ALICE)
            await until(lambda: any(peer.exchange and peer.exchange.upstream for peer in proxy.plane.clients))
            hub.change(delete=("/user/al/",))
            await until(lambda: "/user/al/" not in proxy.routing.table.routes)
            go.set()
            assert (await client.answer()).body == b"ok"


async def test_with_the_hub_down_servers_go_on():
    """And changes made meanwhile arrive when it is back, without a new list."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            await hub.stop()
            await until(lambda: not proxy.routing.connected)
            assert (await client.ask(ALICE)).body == b"ok"
            answer = await client.ask(b"GET /hub/home HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n")
            assert (answer.status, answer.field("retry-after")) == (503, "5")
            assert b"<html" in answer.body
            hub.change({"/user/bo/": url})
            await hub.start()
            await until(lambda: "/user/bo/" in proxy.routing.table.routes)
            assert hub.lists == 1
            assert (await client.ask(b"GET /hub/home HTTP/1.1\r\nHost: h\r\n\r\n")).json()["at"] == "hub"


@pytest.mark.parametrize("why", ["epoch", "too far behind"])
async def test_a_proxy_that_is_too_far_behind_lists_again(why):
    """Another database, or more changes than the hub remembers."""
    async with fake_hub() as hub, target(ok) as url, serve_proxy(hub) as proxy:
        await hub.stop()
        hub.change({"/user/al/": url})
        if why == "epoch":
            hub.epoch = "e2"
        else:
            hub.forget_log()
            hub.change({"/user/bo/": url})
        await hub.start()
        await until(lambda: "/user/al/" in proxy.routing.table.routes)
        assert hub.lists == 2


async def test_another_replica_takes_over():
    """For the watch, for the hub's pages and for requests with a body that had not been sent."""
    async with (
        fake_hub() as first,
        fake_hub() as second,
        target(ok) as url,
        serve_proxy(first, hub_urls=[first.url, second.url]) as proxy,
        wire(proxy) as client,
    ):
        await first.stop()
        second.change({"/user/al/": url})
        await until(lambda: "/user/al/" in proxy.routing.table.routes)
        answer = await client.ask(b"POST /hub/login HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
        assert answer.json()["body"] == "body"
        assert len(second.requests) == 1
        for _ in range(3):
            assert (await client.ask(b"GET /hub/home HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200


async def test_before_the_first_list_servers_are_not_there_yet():
    """503 to come back, never 404; the hub's own pages work, and health says who is who."""
    async with fake_hub() as hub:
        hub.token = "other"
        async with serve_proxy(hub, token="wrong", wait=False) as proxy, wire(proxy) as client:
            assert (await client.ask(ALICE)).status == 503
            assert (await client.ask(b"GET /_perijove/healthz HTTP/1.1\r\nHost: h\r\n\r\n")).status == 503
            assert (await client.ask(b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200
            assert (await client.ask(b"GET /hub/login HTTP/1.1\r\nHost: h\r\n\r\n")).json()["at"] == "hub"
            assert (await client.ask(b"GET /hub/internal/routes HTTP/1.1\r\nHost: h\r\n\r\n")).status in (404, 503)


async def test_the_table_survives_a_restart_without_any_hub(tmp_path):
    """From disk, readable by its owner alone; a hub that comes back is listed afresh."""
    place = tmp_path / "routes.json"
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, table_path=place):
            pass
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert json.loads(place.read_text())["routes"][1]["prefix"] == "/user/al/"
        assert list(tmp_path.iterdir()) == [place]
        await hub.stop()
        async with serve_proxy(hub, table_path=place, wait=False) as proxy, wire(proxy) as client:
            await until(lambda: proxy.routing.table.loaded)
            assert (await client.ask(ALICE)).body == b"ok"
            assert (await client.ask(b"GET /_perijove/healthz HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200
            await hub.start()
            await until(lambda: proxy.routing.connected)
            assert hub.lists == 2


@pytest.mark.parametrize(
    "damage", ["not json", '{"epoch":"e","revision":1,"routes":[{"prefix":"x","target":"y"}]}', "[]"]
)
async def test_a_damaged_file_is_not_used(tmp_path, damage):
    """It is said so, and the proxy waits for a hub."""
    place = tmp_path / "routes.json"
    place.write_text(damage)
    async with fake_hub() as hub:
        await hub.stop()
        async with serve_proxy(hub, table_path=place, wait=False) as proxy, wire(proxy) as client:
            assert (await client.ask(ALICE)).status == 503
            await hub.start()
            await until(lambda: proxy.routing.connected)
            assert (await client.ask(ALICE)).status == 200


async def test_a_full_disk_leaves_the_last_saved_table(tmp_path):
    """The routes in memory go on being served, and the old file stays whole."""
    place = tmp_path / "routes.json"
    async with fake_hub() as hub, target(ok) as url, serve_proxy(hub, table_path=place) as proxy, wire(proxy) as client:
        await proxy.control.saved.save_now()
        before = place.read_bytes()
        # A directory in the way of the file beside it fails the write as a full disk does, for root, too.
        (tmp_path / f".routes.json.{os.getpid()}").mkdir()
        hub.change({"/user/al/": url})
        await until(lambda: "/user/al/" in proxy.routing.table.routes)
        await proxy.control.saved.save_now()
        assert place.read_bytes() == before
        assert (await client.ask(ALICE)).body == b"ok"


async def test_a_route_that_cannot_be_used_harms_no_other():
    """Bad prefixes are left out, bad targets answered with 503."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"not/a/prefix": url, "/user/bad/": "gopher://x", "/hub/internal/": url, "/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            assert (await client.ask(ALICE)).body == b"ok"
            assert (await client.ask(b"GET /user/bad/ HTTP/1.1\r\nHost: h\r\n\r\n")).status == 503
            assert (await client.ask(b"GET /hub/internal/x HTTP/1.1\r\nHost: h\r\n\r\n")).status == 404


async def test_activity_reaches_the_hub_in_batches():
    """Successes and what clients send; errors, redirects and the hub's own pages are not activity."""
    statuses = iter((200, 302, 404, 500))

    async def various(reader, writer):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % next(statuses))

    async with fake_hub() as hub, target(various) as url:
        hub.change({"/user/al/": url, "/user/bo/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            await client.ask(ALICE)
            for _ in range(3):
                await client.ask(b"GET /user/bo/x HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.ask(b"GET /hub/home HTTP/1.1\r\nHost: h\r\n\r\n")
            await proxy.control.follower.report_now()
            assert list(hub.activity) == ["/user/al/"]
            assert hub.activity["/user/al/"].endswith("+00:00")


async def test_activity_that_the_hub_did_not_take_is_told_later():
    """Nobody's server is culled because the hub was away for a moment."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, activity_seconds=0.05) as proxy, wire(proxy) as client:
            await hub.stop()
            await client.ask(ALICE)
            await proxy.control.follower.report_now()
            assert not hub.activity
            await hub.start()
            await until(lambda: "/user/al/" in hub.activity)


async def test_a_silent_hub_is_left(monkeypatch):
    """A watch that says nothing for too long is as good as dead, though its connection stands."""
    silent = asyncio.Event()

    async def mute(reader, writer):
        if b"/watch?" not in await reader.readuntil(b"\r\n\r\n"):
            body = b'{"epoch":"e1","revision":1,"routes":[]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        silent.set()
        await reader.read()

    monkeypatch.setattr(follow, "_WATCHING", Patience(silence=0.05))
    async with fake_hub() as hub, target(mute) as quiet, target(ok) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, hub_urls=[quiet, hub.url]) as proxy:
            await asyncio.wait_for(silent.wait(), 5)
            await until(lambda: "/user/al/" in proxy.routing.table.routes)


async def test_a_large_list_does_not_stop_the_traffic():
    """It is built beside the table in use, in slices."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            hub.change({f"/user/u{number}/": url for number in range(20_000)})
            hub.forget_log()
            old = proxy.routing.table
            proxy.reload()
            hub.change({"/user/zz/": url})
            while proxy.routing.table is old:
                assert (await client.ask(ALICE)).body == b"ok"
            assert len(proxy.routing.table) == 20_003


async def test_connecting_is_given_up_in_time():
    """A target that drops packets is a 503, not an endless wait."""
    async with fake_hub() as hub:
        # Nothing listens on a reserved address, and no reset comes back.
        hub.change({"/user/al/": "http://192.0.2.1:81"})
        async with serve_proxy(hub, timeouts=ProxyTimeouts(connect_seconds=0.05)) as proxy, wire(proxy) as client:
            assert (await client.ask(ALICE)).status == 503
