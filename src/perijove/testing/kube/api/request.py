"""What a request asks for, from its method, path and query: the words that authorization, faults and the log use."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_OF_NAMESPACES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class RequestInfo:
    verb: str
    path: str
    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_resource(self) -> bool:
        return bool(self.plural)

    @property
    def resource(self) -> str:
        """With the subresource, as roles name it."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")


def understand(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    parts = [part for part in path.split("/") if part]
    plain = RequestInfo(method.lower(), path, query=query)
    group, version, rest = "", "", []
    if parts[:1] == ["api"] and len(parts) > 2:  # noqa: PLR2004 - api, version, resource
        version, rest = parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:  # noqa: PLR2004 - apis, group, version, resource
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return plain
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _OF_NAMESPACES:  # noqa: PLR2004 - namespaces, name, resource
            rest = rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    return RequestInfo(
        _verb(method, name, query), path, group, version, plural, namespace, name, subresource, query=query
    )


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method in ("GET", "HEAD"):
        if query.get("watch", "").lower() in ("true", "1"):
            return "watch"
        return "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(method, method.lower())
