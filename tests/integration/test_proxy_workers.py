"""Several workers on one port, and what a service manager does: signals, sockets, readiness, few descriptors."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys

import msgspec
import psutil
import pytest

from perijove.cli.listening import free_port
from perijove.proxy.options import ProxyLimits, ProxyOptions, TLSOptions
from perijove.proxy.systemd import activated
from perijove.proxy.worker_wire import text_of
from perijove.testing.proxy import fake_hub, target, wire
from perijove.testing.tls import Authority
from perijove.testing.waiting import until

PROGRAM = """
import sys, msgspec
from perijove.proxy.main import serve
from perijove.proxy.options import ProxyLimits, ProxyOptions, TLSOptions
from perijove.proxy.worker_wire import path_from
options = msgspec.json.decode(sys.argv[1].encode(), type=ProxyOptions, dec_hook=path_from)
ready = lambda addresses: print(msgspec.json.encode(addresses).decode(), flush=True)
sys.exit(serve(options, ready=ready))
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n"
HEALTH = b"GET /_perijove/healthz HTTP/1.1\r\nHost: h\r\n\r\n"


async def ok(reader, writer):
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


class Process:
    """A proxy that runs; looks like one to `wire`."""

    def __init__(self, child, addresses, log):
        self.child = child
        self.addresses = addresses
        self._log = log

    @property
    def workers(self):
        return psutil.Process(self.child.pid).children()

    @property
    def log(self):
        return self._log.read_text()

    async def end(self):
        return await asyncio.wait_for(self.child.wait(), 20)


@contextlib.asynccontextmanager
async def process(tmp_path, *, environ=None, pass_fds=(), before=None, **options):
    given = ProxyOptions(**{"listen": [("127.0.0.1", 0)], **options})
    text = msgspec.json.encode(given, enc_hook=text_of).decode()
    log = tmp_path / "proxy.log"
    with log.open("wb") as stream:
        child = await asyncio.create_subprocess_exec(
            *(*(before or ()), sys.executable, "-c", PROGRAM, text),
            stdout=subprocess.PIPE,
            stderr=stream,
            env={**os.environ, **(environ or {})},
            pass_fds=pass_fds,
        )
    try:
        line = await asyncio.wait_for(child.stdout.readline(), 30)
        running = Process(child, [tuple(address) for address in json.loads(line or b"[]")], log)
        yield running
    finally:
        if child.returncode is None:
            family = [*psutil.Process(child.pid).children(), psutil.Process(child.pid)]
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        await child.wait()
        child._transport.close()


async def ready(proxy):
    async with wire(proxy) as client:
        return (await client.ask(HEALTH)).status == 200


async def statuses(proxy, count, request=GET):
    """On as many connections, which the kernel deals out to the workers."""
    found = []
    for _ in range(count):
        async with wire(proxy) as client:
            found.append((await client.ask(request)).status)
    return found


async def test_workers_share_a_port_and_one_follower(tmp_path):
    """Each serves, the hub is listed once, and all of them have a change when the hub's answer names it."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        options = {"hub_urls": [hub.url], "token": hub.token, "workers": 2}
        async with process(tmp_path, **options) as proxy:
            await until(lambda: ready(proxy))
            assert len(proxy.workers) == 2
            assert await statuses(proxy, 20) == [200] * 20
            assert hub.lists == 1
            hub.change({"/user/bo/": url})
            bob = GET.replace(b"/al/", b"/bo/")

            async def everywhere():
                async with wire(proxy) as client:
                    return (await client.ask(bob)).body == b"ok"

            await until(everywhere)
            # Told to both in the same moment; a second look after the first success is enough for the other.
            await until(lambda: _all(everywhere, 10))
            hub.change(delete=("/user/bo/",))
            await until(lambda: _none(everywhere, 10))
            assert hub.lists == 1


async def _all(question, count):
    return all([await question() for _ in range(count)])


async def _none(question, count):
    return not any([await question() for _ in range(count)])


async def test_a_worker_that_dies_is_replaced_and_nobody_is_turned_away(tmp_path):
    """What waits in its queue is served by the next; it has the routes from the start."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        options = {"hub_urls": [hub.url], "token": hub.token, "workers": 2}
        async with process(tmp_path, **options) as proxy:
            await until(lambda: ready(proxy))
            victims = proxy.workers
            for victim in victims:
                victim.kill()
                assert await statuses(proxy, 10) == [200] * 10
            await until(lambda: not {worker.pid for worker in proxy.workers} & {victim.pid for victim in victims})
            assert "a worker ended; starting another" in proxy.log
            assert hub.lists == 1


async def test_metrics_and_activity_of_workers_are_added_up(tmp_path):
    """A scrape asks them all, so what has been answered is in it."""
    port = free_port()
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        options = {"hub_urls": [hub.url], "token": hub.token, "workers": 2, "metrics_listen": ("127.0.0.1", port)}
        async with process(tmp_path, activity_seconds=0.2, **options) as proxy:
            await until(lambda: ready(proxy))
            await statuses(proxy, 20)
            async with wire(("127.0.0.1", port)) as client:
                page = (await client.ask(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")).body.decode().splitlines()
            assert 'perijove_proxy_request_duration_seconds_count{route="user"} 20' in page
            assert "perijove_proxy_workers 2" in page
            assert "perijove_proxy_routes 2" in page
            await until(lambda: "/user/al/" in hub.activity)


async def test_sigterm_drains_all_workers(tmp_path):
    """What is under way is finished, on whichever worker it is; nobody new is let in; exit code 0."""
    go = asyncio.Event()

    async def slow(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(OK)
        await writer.drain()

    async with fake_hub() as hub, target(slow) as url:
        hub.change({"/user/al/": url})
        options = {"hub_urls": [hub.url], "token": hub.token, "workers": 2, "drain_seconds": 20}
        async with process(tmp_path, **options) as proxy, contextlib.AsyncExitStack() as stack:
            await until(lambda: ready(proxy))
            clients = [await stack.enter_async_context(wire(proxy)) for _ in range(8)]
            for client in clients:
                await client.send(GET)
            await until(lambda: proxy_is_busy(proxy, 8, url))
            proxy.child.send_signal(signal.SIGTERM)
            await until(lambda: _refuses(proxy.addresses[0]))
            go.set()
            for client in clients:
                assert (await client.answer()).body == b"ok"
            assert await proxy.end() == 0


def proxy_is_busy(proxy, count, url):
    """As many connections to the target as requests were sent."""
    port = int(url.rpartition(":")[2])
    open_ones = [
        connection
        for worker in proxy.workers
        for connection in worker.net_connections("tcp")
        if connection.raddr and connection.raddr.port == port
    ]
    return len(open_ones) == count


def _refuses(address):
    with socket.socket() as probe:
        return probe.connect_ex(tuple(address)) != 0


async def test_workers_end_with_their_supervisor(tmp_path):
    """However it goes: without it, nobody would follow the hub."""
    async with fake_hub() as hub:
        options = {"hub_urls": [hub.url], "token": hub.token, "workers": 2}
        async with process(tmp_path, drain_seconds=0, **options) as proxy:
            await until(lambda: ready(proxy))
            workers = proxy.workers
            proxy.child.kill()
            await until(lambda: not any(_runs(worker) for worker in workers))
            assert _refuses(proxy.addresses[0])


def _runs(worker):
    """Whoever inherits it may take a while to bury it."""
    try:
        return worker.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_workers_that_cannot_start_end_the_proxy(tmp_path):
    """With the reason, as one process would."""
    async with fake_hub() as hub:
        options = {"hub_urls": [hub.url], "workers": 2, "listen": [("127.0.0.1", hub.port)]}
        async with process(tmp_path, **options) as proxy:
            assert await proxy.end() == 1
            assert "Address already in use" in proxy.log
            assert "Traceback" not in proxy.log


async def test_sighup_reaches_the_workers(tmp_path):
    """A renewed certificate is shown by all of them."""
    authority = Authority(tmp_path)
    chain, key = authority.issue("site", "before.org")
    async with fake_hub() as hub:
        tls = TLSOptions(certificates=[(chain, key)])
        options = {"hub_urls": [hub.url], "token": hub.token, "workers": 2, "tls": tls}
        async with process(tmp_path, **options) as proxy:
            assert set(await _names(proxy, authority, 10)) == {"before.org"}
            authority.issue("site", "after.org")
            proxy.child.send_signal(signal.SIGHUP)
            await until(lambda: _renewed(proxy, authority))


async def _names(proxy, authority, count):
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.check_hostname = False
    found = []
    for _ in range(count):
        async with wire(proxy, ssl=context, server_hostname="x") as client:
            certificate = client.writer.get_extra_info("ssl_object").getpeercert()
            found.append(certificate["subjectAltName"][0][1])
    return found


async def _renewed(proxy, authority):
    return set(await _names(proxy, authority, 6)) == {"after.org"}


async def test_a_unix_socket_is_shared_by_workers(tmp_path):
    """Its file of an earlier run is in nobody's way; one that somebody serves is."""
    place = tmp_path / "public.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    async with fake_hub() as hub:
        options = {"hub_urls": [hub.url], "token": hub.token, "listen": [], "unix_sockets": [place]}
        async with process(tmp_path, workers=2, **options) as proxy:
            for _ in range(6):
                reader, writer = await asyncio.open_unix_connection(str(place))
                writer.write(b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n")
                assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
                writer.close()
            async with process(tmp_path, **options) as second:
                assert await second.end() == 1
            assert proxy.child.returncode is None


# -- systemd


async def test_readiness_is_told_to_systemd(tmp_path):
    """Ready once it listens, reloading and stopping as they happen; workers say nothing."""
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.setblocking(False)
        loop = asyncio.get_running_loop()

        async def told():
            return (await asyncio.wait_for(loop.run_in_executor(None, _receive, manager), 10)).decode()

        async with fake_hub() as hub:
            options = {"hub_urls": [hub.url], "token": hub.token, "workers": 2, "drain_seconds": 0}
            async with process(tmp_path, environ={"NOTIFY_SOCKET": str(place)}, **options) as proxy:
                first = (await told()).splitlines()
                assert first[0] == "READY=1"
                assert f"MAINPID={proxy.child.pid}" in first
                proxy.child.send_signal(signal.SIGHUP)
                assert await told() == "RELOADING=1"
                assert await told() == "READY=1"
                proxy.child.send_signal(signal.SIGTERM)
                assert await told() == "STOPPING=1"
                assert await proxy.end() == 0


def _receive(sock):
    sock.setblocking(True)
    sock.settimeout(10)
    return sock.recv(4096)


@pytest.mark.parametrize("workers", [1, 2])
async def test_listening_sockets_may_be_handed_over(tmp_path, workers):
    """What connected before the proxy was there is served; restarting it refuses nobody."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        async with fake_hub() as hub:
            number = listener.fileno()
            options = {"hub_urls": [hub.url], "token": hub.token, "listen": [], "sockets": [number]}
            for _ in range(2):
                async with wire(listener.getsockname()) as early, contextlib.AsyncExitStack() as stack:
                    await early.send(b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n")
                    running = process(tmp_path, pass_fds=[number], workers=workers, **options)
                    proxy = await stack.enter_async_context(running)
                    assert proxy.addresses == [listener.getsockname()]
                    assert (await early.answer()).status == 200
                    assert await statuses(proxy, 4, b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n") == [200] * 4


def test_only_what_was_passed_to_this_process_is_taken(monkeypatch):
    """By its pid, and by the names of the unit; the variables are gone for children."""
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "4", "LISTEN_FDNAMES": "https:http:api"}
    found = activated(environ)
    assert (found.public, found.redirect, found.api) == ([3, 6], [4], [5])
    assert environ == {}
    assert activated({"LISTEN_PID": "1", "LISTEN_FDS": "1"}).public == []
    assert activated({}).public == []


async def test_systemd_starts_the_command_on_its_socket(tmp_path):
    """`systemd-socket-activate`, as systemd itself would: the command is run by the first connection."""
    port = free_port()
    async with fake_hub() as hub:
        command = (sys.executable, "-P", "-m", "perijove.cli", "proxy", "--hub-url", hub.url)
        try:
            child = await asyncio.create_subprocess_exec(
                *("systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-E", "CONFIGPROXY_AUTH_TOKEN", *command),
                env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": hub.token},
                stderr=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            pytest.skip("systemd-socket-activate is not installed")
        try:
            await until(lambda: not _refuses(("127.0.0.1", port)))
            async with wire(("127.0.0.1", port)) as client:
                assert (await client.ask(b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200
        finally:
            child.terminate()
            await asyncio.wait_for(child.wait(), 20)
            child._transport.close()


# -- file descriptors


async def test_running_out_of_descriptors_is_survived(tmp_path):
    """More clients than there are descriptors for: a clear line in the log, and idle ones make room for others."""
    files = ("sh", "-c", 'ulimit -n 64; exec "$0" "$@"')
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        options = {"hub_urls": [hub.url], "token": hub.token}
        # As many as it likes: the limit on clients would keep it from getting there.
        limits = {"limits": ProxyLimits(clients=100_000)}
        async with process(tmp_path, before=files, **options, **limits) as proxy:
            await until(lambda: ready(proxy))
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(100):
                    await stack.enter_async_context(wire(proxy))
                await until(lambda: "out of file descriptors" in proxy.log)
                await until(lambda: _serves(proxy), seconds=20)
            await until(lambda: _serves(proxy), seconds=20)
            assert proxy.child.returncode is None
            assert proxy.log.count("out of file descriptors") < 5
            assert "Traceback" not in proxy.log


async def _serves(proxy):
    try:
        async with wire(proxy) as client:
            return (await asyncio.wait_for(client.ask(GET), 2)).status == 200
    except (OSError, asyncio.IncompleteReadError):
        return False
