"""A hub or a proxy that is told to stop answers what is on its way over connections that were kept."""

import asyncio
import json
import signal

import pytest

from perijove.testing.waiting import until


@pytest.fixture(scope="module")
def shared(new_cluster):
    return new_cluster("sqlite", proxies=1, drain_seconds=20)


class Kept:
    """One connection, which is kept."""

    def __init__(self, reader, writer, token):
        self._reader, self._writer, self._token = reader, writer, token

    async def ask(self, method, path, body=None):
        """Status, head and whether it is the last answer here."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: token {self._token}\r\n"
        self._writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        (length,) = [line for line in answer.split(b"\r\n") if line.startswith(b"content-length:")]
        await self._reader.readexactly(int(length.partition(b":")[2]))
        return int(answer.split()[1]), b"connection: close" in answer

    async def ended(self):
        assert await self._reader.read() == b""


@pytest.fixture
async def connect(cluster):
    writers = []

    async def open_one(replica):
        reader, writer = await asyncio.open_connection(replica.host, replica.port)
        writers.append(writer)
        return Kept(reader, writer, cluster.token)

    yield open_one
    for writer in writers:
        writer.close()


async def test_a_hub_that_stops_beside_another_answers_and_ends_each_connection_with_its_answer(cluster, connect):
    """A POST on a kept connection is answered, not met by its end; whoever asks for its health goes elsewhere."""
    hub = cluster.hubs[0]
    busy, other, looking = [await connect(hub) for _ in range(3)]
    for kept in (busy, other, looking):
        assert await kept.ask("GET", "/hub/health") == (200, False)
    hub.process.send_signal(signal.SIGTERM)

    async def leaving():
        status, _ = await (await connect(hub)).ask("GET", "/hub/health")
        return status == 503

    await until(leaving)
    assert await busy.ask("POST", "/hub/api/users/ada") == (201, True)
    assert await other.ask("POST", "/hub/api/users/bob") == (201, True)
    assert await looking.ask("GET", "/hub/health") == (503, True)
    for kept in (busy, other, looking):
        await kept.ended()
    await until(lambda: hub.ended, seconds=20)
    assert hub.process.returncode == 0


async def test_a_proxy_that_stops_answers_and_ends_each_connection_with_its_answer(cluster, connect):
    """And one that nothing comes over ends by itself, long before the drain does."""
    proxy = cluster.proxies[0]
    busy, quiet = [await connect(proxy) for _ in range(2)]
    for kept in (busy, quiet):
        assert (await kept.ask("GET", "/hub/api/user"))[1] is False
    proxy.process.send_signal(signal.SIGTERM)
    await until(lambda: "proxy stops" in proxy.log)
    assert await busy.ask("POST", "/hub/api/users/eve") == (201, True)
    for kept in (busy, quiet):
        await kept.ended()
    await until(lambda: proxy.ended, seconds=10)
    assert proxy.process.returncode == 0
