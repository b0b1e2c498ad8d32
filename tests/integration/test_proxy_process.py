"""A proxy as a process: signals, draining, exit codes, https."""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys

import pytest

from perijove.proxy.options import TLSOptions
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

PROGRAM = """
import json, sys
from perijove.proxy.main import serve
from perijove.proxy.options import ProxyOptions
options = json.loads(sys.argv[1])
sys.exit(serve(ProxyOptions(**options), ready=lambda addresses: print(json.dumps(addresses), flush=True)))
"""
GET = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Process:
    """A proxy that runs; looks like one to `wire`."""

    def __init__(self, process, addresses):
        self.process = process
        self.addresses = addresses

    async def end(self):
        async with asyncio.timeout(10):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def process(hub, **options):
    merged = {"listen": [("127.0.0.1", 0)], "hub_urls": [hub.url], "token": hub.token, **options}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, json.dumps(merged), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(20):
            addresses = json.loads(await child.stdout.readline())
        running = Process(child, addresses)
        async with wire(running) as client:
            await until(lambda: _ready(client))
        yield running
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        child._transport.close()


async def _ready(client):
    return (await client.ask(b"GET /_perijove/healthz HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200


async def test_sigterm_finishes_what_is_under_way():
    """An idle connection is closed at once, a request gets its answer, a websocket its grace; then exit code 0."""
    go = asyncio.Event()

    async def slow(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"pgrade" in head:
            writer.write(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            while data := await reader.read(100):
                writer.write(data)
            return
        await go.wait()
        writer.write(OK)
        await writer.drain()

    async with fake_hub() as hub, target(slow) as url:
        hub.change({"/user/al/": url})
        async with (
            process(hub, drain_seconds=20) as proxy,
            wire(proxy) as idle,
            wire(proxy) as busy,
            wire(proxy) as upgraded,
        ):
            await idle.ask(b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            await busy.send(GET)
            await upgraded.send(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
            await upgraded.head()
            proxy.process.send_signal(signal.SIGTERM)
            assert await idle.closed() == b""
            await until(lambda: _refuses(proxy.addresses[0]))
            go.set()
            answer = await busy.answer()
            assert (answer.body, answer.field("connection")) == (b"ok", "close")
            await upgraded.send(b"still there")
            assert await upgraded.reader.readexactly(11) == b"still there"
            upgraded.writer.close()
            assert await proxy.end() == 0


def _refuses(address):
    with socket.socket() as probe:
        return probe.connect_ex(tuple(address)) != 0


async def test_the_grace_ends():
    """A websocket that goes on is cut when it is over, and a second signal ends it at once."""

    async def forever(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.read()

    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with fake_hub() as hub, target(forever) as url:
        hub.change({"/user/al/": url})
        for seconds, signals in ((0.1, 1), (60, 2)):
            async with process(hub, drain_seconds=seconds) as proxy, wire(proxy) as client:
                await client.send(upgrade)
                await client.head()
                proxy.process.send_signal(signal.SIGINT)
                if signals == 2:
                    await until(lambda proxy=proxy: _refuses(proxy.addresses[0]))
                    proxy.process.send_signal(signal.SIGINT)
                assert await client.closed() == b""
                assert await proxy.end() == 0


async def test_sighup_reads_the_routes_again():
    """And drops nothing."""
    async with fake_hub() as hub, process(hub) as proxy, wire(proxy) as client:
        lists = hub.lists
        proxy.process.send_signal(signal.SIGHUP)
        await until(lambda: hub.lists == lists + 1)
        assert (await client.ask(b"GET /hub/x HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200


async def test_an_address_in_use_is_exit_code_one():
    """With the reason in the log."""
    async with fake_hub() as hub:
        options = {"listen": [("127.0.0.1", hub.port)], "hub_urls": [hub.url]}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, json.dumps(options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        async with asyncio.timeout(20):
            output, _ = await child.communicate()
        child._transport.close()
        assert child.returncode == 1
        assert b"cannot start" in output
        assert b"Address already in use" in output
        assert b"Traceback" not in output


async def test_two_processes_share_a_port():
    """With reuse_port, as workers do."""
    async with fake_hub() as hub, process(hub, reuse_port=True) as one:
        address = ["127.0.0.1", one.addresses[0][1]]
        async with process(hub, reuse_port=True, listen=[address]) as two:
            one.process.send_signal(signal.SIGTERM)
            assert await one.end() == 0
            async with wire(two) as client:
                assert (await client.ask(b"GET /hub/x HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A key and a certificate for localhost that vouches for itself."""
    place = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=place, check=True, capture_output=True)
    return place / "cert.pem", place / "key.pem"


async def test_https_for_clients_and_to_targets(certificate):
    """Targets are verified against the given authority, and refused without it."""
    cert, key = certificate
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    seen = []

    async def handler(reader, writer):
        while True:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"z" * 300_000)

    async with fake_hub() as hub, target(handler, ssl=serving) as url:
        hub.change({"/user/al/": url})
        for authority, status in ((cert, 200), (None, 503)):
            async with serve_proxy(hub, tls=TLSOptions(certificates=[(cert, key)]), target_ca=authority) as proxy:
                reader, writer = await asyncio.open_connection(*proxy.addresses[0], ssl=trusting)
                for _ in range(2):
                    writer.write(GET)
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 %d " % status)
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                writer.close()
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()
    assert b"\r\nX-Forwarded-Proto: https\r\n" in seen[0]
    assert b"\r\nX-Forwarded-Port: 443\r\n" in seen[0]
