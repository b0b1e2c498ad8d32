"""Whose pod is this: labels that say which start of which server made it, under which lease.

Labels rather than annotations, so that `kubectl get pods -l perijove.io/server=7` finds them.
"""

from collections.abc import Mapping
from typing import Any, Final

from perijove.domain.ids import ServerId
from perijove.plugins.watched import Marking

_HUB: Final = "perijove.io/hub"
_SERVER: Final = "perijove.io/server"
_GENERATION: Final = "perijove.io/generation"
_EPOCH: Final = "perijove.io/epoch"


def labels(marking: Marking) -> dict[str, str]:
    return {
        _HUB: marking.hub_id,
        _SERVER: str(marking.server_id),
        _GENERATION: str(marking.generation),
        _EPOCH: str(marking.epoch),
    }


def marking_of(pod: Mapping[str, Any]) -> Marking | None:
    """None: not made by one of us, as after a take-over from JupyterHub."""
    found = pod["metadata"].get("labels") or {}
    try:
        return Marking(found[_HUB], ServerId(int(found[_SERVER])), int(found[_GENERATION]), int(found[_EPOCH]))
    except (KeyError, ValueError):
        return None


def succeeds(pod: Mapping[str, Any], marking: Marking) -> bool:
    """Made for the same server by whoever took it over since."""
    other = marking_of(pod)
    if other is None or (other.hub_id, other.server_id) != (marking.hub_id, marking.server_id):
        return False
    return other.epoch > marking.epoch
