"""The route table: longest segment prefix, in time that does not depend on the number of routes.

A tree of dicts keyed by canonical path segments; a node keeps its own route under the key `None`. A table is
replaced as a whole by a list (one assignment) and changed in place by a watch's line. In place is as atomic: one
call without an await, on the thread that also looks routes up, and requests under way hold their `Route`, not the
table. The alternative, a copied table per change, costs a millisecond each at 100,000 routes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from perijove.proxy.paths import Resolved, fully_decoded, prefix_segments

HUB = "hub"
"""Symbolic target: whichever hub answers."""
_BLOCKED = "blocked"


class Route:
    """One prefix and where it leads."""

    __slots__ = ("data", "kind", "prefix", "target")

    def __init__(self, prefix: str, target: str, data: Mapping[str, Any] | None = None) -> None:
        self.prefix = prefix
        self.target = HUB if target == HUB else target
        self.data = data or {}
        self.kind = _kind(target, self.data)

    def as_json(self) -> dict[str, Any]:
        return {"prefix": self.prefix, "target": self.target, "data": self.data}


def _kind(target: str, data: Mapping[str, Any]) -> str:
    """The class that metrics are counted under: few values, whatever is routed."""
    if target in (HUB, _BLOCKED):
        return target
    for kind in ("user", "service"):
        if kind in data:
            return kind
    return "extra"


Node = dict[Any, Any]


class RouteTable:
    """Routes by prefix. `<base>hub/internal/` leads nowhere, in every spelling: it is for proxies only."""

    def __init__(self, routes: Iterable[Route] = (), *, base_url: str = "/", loaded: bool = True) -> None:
        self.loaded = loaded
        self.routes: dict[str, Route] = {}
        self._root: Node = {}
        self._internal = (*prefix_segments(base_url), b"hub", b"internal")
        self._insert(self._internal, Route(f"{base_url}hub/internal/", _BLOCKED))
        for route in routes:
            self.put(route)

    def __len__(self) -> int:
        return len(self.routes)

    def find(self, resolved: Resolved) -> Route | None:
        """The route of the longest prefix; None also where the public must not go."""
        node = self._root
        best: Route | None = node.get(None)
        segments = iter(resolved.segments)
        next(segments)
        for segment in segments:
            below: Node | None = node.get(segment)
            if below is None:
                break
            node = below
            best = node.get(None, best)
        if best is None or best.target is _BLOCKED:
            return None
        if resolved.encoded_slash and best.target == HUB and self._is_internal(resolved.segments):
            return None
        return best

    def put(self, route: Route) -> None:
        key = prefix_segments(route.prefix)
        if key == self._internal:
            raise ValueError(f"{route.prefix} is not for the public")
        self.routes[route.prefix] = route
        self._insert(key, route)

    def delete(self, prefix: str) -> bool:
        """False where there was none."""
        route = self.routes.pop(prefix, None)
        if route is None:
            return False
        trail: list[tuple[Node, bytes]] = []
        node = self._root
        for segment in prefix_segments(prefix):
            trail.append((node, segment))
            node = node[segment]
        # Two spellings of one prefix share a node, and the later one has it.
        if node.get(None) is route:
            del node[None]
        for parent, segment in reversed(trail):
            if parent[segment]:
                break
            del parent[segment]
        return True

    def _insert(self, key: Iterable[bytes], route: Route) -> None:
        node = self._root
        for segment in key:
            node = node.setdefault(segment, {})
        node[None] = route

    def _is_internal(self, segments: list[bytes]) -> bool:
        # The table holds %2F to be data; the hub's ASGI server decodes it before it routes.
        return tuple(fully_decoded(segments)[: len(self._internal)]) == self._internal


def starting_table(base_url: str) -> RouteTable:
    """Before any table was read: the hub's own pages work, the rest is "not yet" (503), never "not there"."""
    hub = Route(f"{base_url}hub/", HUB, {"hub": True})
    return RouteTable([hub], base_url=base_url, loaded=False)
