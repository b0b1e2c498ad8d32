"""The route table: longest segment prefix, in time that does not depend on the number of routes.

A tree of dicts keyed by canonical path segments; a node keeps its own route under the key `None`, and one with nothing
below it is its route: with a hundred thousand, each object that a lookup touches is a miss of the processor's caches.
With host routing there is such a tree for each host, and one for routes that name none. A table is replaced as a whole
by a list (one assignment) and changed in place by a watch's line. In place is as atomic: one call without an await, on
the thread that also looks routes up, and requests under way hold their `Route`, not the table. The alternative, a
copied table per change, costs a millisecond each at 100,000 routes.
"""

from collections.abc import Iterable, Mapping
from sys import intern
from typing import Any, cast

from perijove.proxy.paths import BadTarget, Resolved, fully_decoded, prefix_segments

HUB = "hub"
"""Symbolic target: whichever hub answers."""
_BLOCKED = "blocked"


class Route:
    """One prefix and where it leads."""

    __slots__ = ("data", "kind", "last_activity", "prefix", "target")

    def __init__(self, prefix: str, target: str, data: Mapping[str, Any] | None = None) -> None:
        self.prefix = prefix
        # Interned: the tables of pools are keyed by it, and `is` finds `HUB`.
        self.target = HUB if target == HUB else intern(target)
        self.data = data or {}
        self.kind = _kind(target, self.data)
        self.last_activity = 0.0
        """Seconds since the epoch."""

    def as_json(self) -> dict[str, Any]:
        return {"prefix": self.prefix, "target": self.target, "data": self.data}


def _kind(target: str, data: Mapping[str, Any]) -> str:
    """The class that metrics are counted under: few values, whatever is routed."""
    if target in (HUB, _BLOCKED):
        return target
    for kind in ("user", "service", "hub"):
        if kind in data:
            return kind
    return "extra"


Node = dict[Any, Any]


class RouteTable:
    """Routes by prefix. `<base>hub/internal/` leads nowhere, in every spelling: it is for proxies only."""

    def __init__(
        self,
        routes: Iterable[Route] = (),
        *,
        base_url: str = "/",
        loaded: bool = True,
    ) -> None:
        self.loaded = loaded
        self.routes: dict[str, Route] = {}
        self._pinned: set[str] = set()
        self._internal = (*prefix_segments(base_url), b"hub", b"internal")
        self._root: Node = {}
        # What every path begins with is the empty segment before its first slash.
        self._top: Node = {b"": self._root}
        self._hosts: dict[bytes, Node] = {}
        _insert(self._root, self._internal, Route(f"{base_url}hub/internal/", _BLOCKED))
        for route in routes:
            self.put(route)

    def __len__(self) -> int:
        return len(self.routes)

    def find(self, resolved: Resolved, host: bytes | None = None) -> Route | None:
        """The route of the longest prefix; None also where the public must not go."""
        best = None
        segments = resolved.segments
        if self._hosts and host is not None:
            tree = self._hosts.get(host_key(host))
            if tree is not None and not self._is_internal(segments):
                best = _longest({b"": tree}, segments)
        if best is None:
            best = _longest(self._top, segments)
        if best is None or best.target is _BLOCKED:
            return None
        if resolved.encoded_slash and best.target == HUB and self._is_internal(segments):
            return None
        return best

    def put(self, route: Route, *, pinned: bool = False) -> None:
        """A pinned route stays, whatever is put or deleted later. Raises ValueError."""
        host, key = self._key(route.prefix)
        if key == self._internal:
            raise BadTarget(f"{route.prefix} is not for the public")
        if not pinned and route.prefix in self._pinned:
            return
        if pinned:
            self._pinned.add(route.prefix)
        self.routes[route.prefix] = route
        tree = self._root
        if host is not None:
            tree = self._hosts.setdefault(host, {})
        displaced = _insert(tree, key, route)
        if displaced is not None and displaced.prefix != route.prefix:
            # Another spelling of the same prefix: the later one has it.
            self.routes.pop(displaced.prefix, None)

    def delete(self, prefix: str) -> bool:
        """False where there was none."""
        if prefix in self._pinned:
            return False
        route = self.routes.pop(prefix, None)
        if route is None:
            return False
        host, key = self._key(prefix)
        if host is None:
            _remove(self._root, key)
        else:
            _remove(self._hosts[host], key)
            if not self._hosts[host]:
                del self._hosts[host]
        return True

    def _key(self, prefix: str) -> tuple[bytes | None, tuple[bytes, ...]]:
        if prefix.startswith("/"):
            return None, prefix_segments(prefix)
        host, slash, path = prefix.partition("/")
        return host_key(host.encode("ascii", "replace")), prefix_segments(slash + path)

    def _is_internal(self, segments: list[bytes]) -> bool:
        # The table holds %2F to be data; the hub's ASGI server decodes it before it routes.
        return tuple(fully_decoded(segments)[: len(self._internal)]) == self._internal


def _longest(node: Node, segments: list[bytes]) -> Route | None:
    best: Route | None = None
    for segment in segments:
        if segment not in node:
            break
        below: Node | Route = node[segment]
        if type(below) is Route:
            return below
        node = cast("Node", below)
        if None in node:
            best = node[None]
    return best


def _insert(node: Node, key: tuple[bytes, ...], route: Route) -> Route | None:
    """What was there before."""
    # One place for a route at the very top, another for all others: in the last node, under its last segment.
    *way, last = key or (None,)
    for segment in way:
        below = node.setdefault(segment, {})
        if type(below) is Route:
            below = node[segment] = {None: below}
        node = below
    there: Node | Route | None = node.get(last)
    if isinstance(there, dict):
        node, last = there, None
        there = node.get(None)
    node[last] = route
    return cast("Route | None", there)


def _remove(node: Node, key: tuple[bytes, ...]) -> None:
    """Also the branches that led to nothing else."""
    trail: list[tuple[Node, bytes | None]] = []
    for segment in key:
        trail.append((node, segment))
        node = node[segment]
    if isinstance(node, dict):
        trail.append((node, None))
    parent, last = trail.pop()
    del parent[last]
    for above, way in reversed(trail):
        if above[way]:
            break
        del above[way]


def host_key(host: bytes) -> bytes:
    """A Host header without what does not tell hosts apart: port, case, the root's dot."""
    name, colon, port = host.rpartition(b":")
    if colon and (port.isdigit() or not port) and not name.endswith(b":"):
        host = name
    return host.lower().removesuffix(b".")


def starting_table(base_url: str) -> RouteTable:
    """Before any table was read: the hub's own pages work, the rest is "not yet" (503), never "not there"."""
    hub = Route(f"{base_url}hub/", HUB, {"hub": True})
    return RouteTable([hub], base_url=base_url, loaded=False)
