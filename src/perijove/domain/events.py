"""Events: hints that a row changed, never the truth about it. A receiver re-reads.

They are written to the outbox in the transaction that made the change and published after its
commit. A subscriber that falls behind gets `Lagged` instead of silence and reads everything again.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    # key = server id. The row's desired, observed, url or existence changed.
    SERVER = "server"
    # The same, of a server that has no route: it is asked for, or on its way up. Proxies need not hear of it, and most
    # of what is told in a storm of starts is this.
    STARTING = "starting"
    # key = server id. A progress event was appended.
    PROGRESS = "progress"
    # key = user name, "service:<name>", or "*" (roles, groups): cached identities of it are stale.
    IDENTITY = "identity"
    # key = service name or route prefix. Routes that do not come from servers changed.
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Event:
    kind: Kind
    key: str
    data: dict[str, Any] = field(default_factory=dict)
    # Set by the store at commit; 0 before.
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Lagged:
    """Events were lost for this subscriber: read the snapshot again."""
