"""Volumes of a spawner class that keeps its servers in a cluster: `ports.Storage` over instances of it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from perijove.domain.errors import HubError, Unavailable
from perijove.domain.ports import ServerSpec, Volume
from perijove.plugins.errors import details_of
from perijove.plugins.watched import NOBODYS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedStorage:
    """`build` makes an instance for a server, set up as for any operation on it."""

    build: Callable[[ServerSpec], Any]

    async def volumes(self, specs: Sequence[ServerSpec]) -> Sequence[Volume]:
        with _explained():
            first, *others = [self.build(spec) for spec in specs]
            found: Sequence[Volume] = await first.volumes_of_user(others)
            return found

    async def delete_volume(self, volume: Volume) -> None:
        with _explained():
            await self.build(NOBODYS).delete_volume(volume)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except HubError:
        raise
    except Exception as exc:  # of building (the configuration's code) or of the plug-in's client, which is not ours
        log.warning("storage cannot be looked at: %s", details_of(exc))
        raise Unavailable("The cluster cannot say or change what it keeps; the hub's log says why.") from exc
