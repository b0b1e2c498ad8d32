"""Instances that polled a server and may poll it again.

A hub polls each of its servers twice a minute, and building an instance from its row costs a hundred times what most
spawners' `poll` does. In JupyterHub an instance lives as long as its server's hub, so plug-ins expect to be asked
again. Here it is memory, and rows are truth: an instance is used again only while the row says the very same of the
server and of its owner. A start by any replica is another generation, and what any operation saved another state.

Only polls share instances, one at a time: who starts or stops a server gets one of their own, and what was kept for
it is dropped, since the world will not be as that instance knows it.
"""

from dataclasses import dataclass
from typing import Any

from perijove.domain.ids import ServerId
from perijove.domain.ports import ServerSpec, UserFacts

# An instance is some fifteen kilobytes.
MAX_KEPT = 1000
# Who was not asked for it in so long has left: the server was stopped, or another replica polls it.
STALE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Kept:
    # As it last was.
    spec: ServerSpec
    plugin: Any
    at: float


class KeptInstances:
    """By server. The one that was put in last is the last in the dictionary."""

    def __init__(self) -> None:
        self._kept: dict[ServerId, Kept] = {}

    def take(self, spec: ServerSpec) -> Kept | None:
        """The instance for this very server, which is the caller's until it is put back."""
        kept = self._kept.pop(spec.id, None)
        return kept if kept is not None and is_same(kept.spec, spec) else None

    def put(self, spec: ServerSpec, plugin: Any, now: float) -> None:
        """When there is no room it goes, unless somebody else's is stale: who came later would be gone before their
        turn comes again, and in the end nobody's would be kept."""
        self._kept.pop(spec.id, None)
        if len(self._kept) >= MAX_KEPT:
            oldest = next(iter(self._kept))
            if now - self._kept[oldest].at < STALE_SECONDS:
                return
            del self._kept[oldest]
        self._kept[spec.id] = Kept(spec, plugin, now)

    def drop(self, server_id: ServerId) -> None:
        self._kept.pop(server_id, None)


def is_same(one: ServerSpec, other: ServerSpec) -> bool:
    """In all that an instance is built from. Leases and times of activity change all the time, and can be set."""
    return _marks(one) == _marks(other) and _owner_marks(one.user) == _owner_marks(other.user)


def _marks(spec: ServerSpec) -> tuple[Any, ...]:
    return (
        spec.id,
        spec.generation,
        spec.name,
        spec.url,
        spec.started,
        spec.state,
        spec.user_options,
        spec.display_name,
        spec.api_token,
        spec.oauth_client_id,
        spec.sibling_names,
    )


def _owner_marks(user: UserFacts) -> tuple[Any, ...]:
    return user.id, user.name, user.admin, user.groups, user.created, user.user_info, user.auth_state
