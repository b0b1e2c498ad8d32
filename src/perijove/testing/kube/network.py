"""What kube-proxy and the cluster's DNS do: connections to services' addresses reach their pods, names resolve.

Service and load balancer addresses are listened on in this process and connections passed on to a ready pod, each to
another in turn. Names are in a hosts file a namespace that containers see as theirs, which is as far as this goes.
"""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from perijove.lib.log import get_logger
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers.loop import Control, Name, name_of
from perijove.testing.kube.objects.resources import Object

log = get_logger(__name__)
_CHUNK = 65_536


@dataclass
class Forward:
    """One listening address and port of a service."""

    server: asyncio.Server
    targets: list[tuple[str, int]] = field(default_factory=list)
    turn: Iterator[int] = field(default_factory=itertools.count)
    open: set[asyncio.Task[None]] = field(default_factory=set)


@dataclass
class ServiceNetwork:
    control: Control
    hosts: Path
    api_address: str
    # Service -> (address, port) -> what listens there.
    _forwards: dict[Name, dict[tuple[str, int], Forward]] = field(default_factory=dict)
    _due: set[Name] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def notice(self, change: Change) -> None:
        if change.resource.qualified in ("services", "endpoints", "namespaces"):
            self._due.add(name_of(change.item))
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, set()
            for name in due:
                try:
                    await self._follow(name)
                except OSError as error:
                    # A port below 1024 without the right to it, or one that somebody else has.
                    log.warning("a service's address cannot be listened on", service=name, reason=str(error))
            for namespace in {name[0] or name[1] for name in due}:
                self.write_hosts(namespace)

    async def _follow(self, name: Name) -> None:
        service = self.control.find("services", name)
        wanted = {} if service is None else dict(self._wanted(service))
        present = self._forwards.setdefault(name, {})
        for place in [one for one in present if one not in wanted]:
            await _close(present.pop(place))
        for place, targets in wanted.items():
            if place not in present:
                present[place] = await _listen(*place)
            present[place].targets = targets

    def _wanted(self, service: Object) -> Iterator[tuple[tuple[str, int], list[tuple[str, int]]]]:
        endpoints = self.control.find("endpoints", name_of(service)) or {}
        addresses = [service["spec"].get("clusterIP")]
        balancer = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
        addresses += [one["ip"] for one in balancer if "ip" in one]
        for port in service["spec"].get("ports") or ():
            targets = [
                (address["ip"], one["port"])
                for subset in endpoints.get("subsets") or ()
                for one in subset.get("ports") or ()
                if one.get("name") == port.get("name")
                for address in subset.get("addresses") or ()
            ]
            for address in addresses:
                if address and str(address).startswith("127."):
                    yield (address, port["port"]), targets

    def _lines(self, namespace: str) -> list[str]:
        lines = ["127.0.0.1 localhost", f"{self.api_address} kubernetes.default.svc kubernetes.default kubernetes"]
        for service in self.control.items("services"):
            own, name = name_of(service)
            address = service["spec"].get("clusterIP")
            places = [address] if address not in (None, "None") else self._pods_of(service)
            names = [f"{name}.{own}.svc.cluster.local", f"{name}.{own}.svc", f"{name}.{own}"]
            if own == namespace:
                names.append(name)
            lines += [f"{place} {' '.join(names)}" for place in places]
        return lines

    def _pods_of(self, service: Object) -> list[str]:
        endpoints = self.control.find("endpoints", name_of(service)) or {}
        return [address["ip"] for subset in endpoints.get("subsets") or () for address in subset.get("addresses") or ()]

    def write_hosts(self, namespace: str) -> None:
        """In place: containers have this very file mounted."""
        path = self.hosts / namespace
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*self._lines(namespace), ""]), encoding="ascii")

    async def close(self) -> None:
        for forwards in self._forwards.values():
            for forward in forwards.values():
                await _close(forward)
        self._forwards.clear()


async def _listen(address: str, port: int) -> Forward:
    forward: Forward

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        forward.open.add(task)
        try:
            await _pass_on(forward, reader, writer)
        finally:
            forward.open.discard(task)
            writer.close()

    forward = Forward(await asyncio.start_server(connected, address, port))
    return forward


async def _pass_on(forward: Forward, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the next pod that takes it; with none, the connection ends, as one that was reset."""
    targets = list(forward.targets)
    first = next(forward.turn)
    for number in range(len(targets)):
        host, port = targets[(first + number) % len(targets)]
        with suppress(OSError):
            to_reader, to_writer = await asyncio.open_connection(host, port)
            try:
                await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
            finally:
                to_writer.close()
            return
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except ConnectionError:
        # One side is gone: so is the other.
        writer.transport.abort()


async def _close(forward: Forward) -> None:
    forward.server.close()
    for task in list(forward.open):
        task.cancel()
    await asyncio.gather(*forward.open, return_exceptions=True)
