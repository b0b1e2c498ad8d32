"""What was deployed before: each revision's manifests, in a Secret, because Secrets are among them.

A revision is written before anything of it is applied, as `pending`; one that stays so was interrupted. The
ten last are kept, and always the last that came up before the present one.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from perijove import __version__
from perijove.deploy import names
from perijove.kube.client import Client
from perijove.kube.errors import ObjectExists
from perijove.kube.refs import Object, Ref
from perijove.lib.clock import Clock, SystemClock

_KEPT: Final = 10
_STATE: Final = "perijove.io/state"
_NOTE: Final = "perijove.io/note"
_BY: Final = "perijove.io/by"
_VERSION: Final = "perijove.io/version"
_AT: Final = "perijove.io/deployed-at"
_MESSAGE: Final = "perijove.io/message"
_LONGEST_MESSAGE: Final = 4000


class State(StrEnum):
    PENDING = "pending"
    DEPLOYED = "deployed"
    FAILED = "failed"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Revision:
    number: int
    state: State
    at: str
    by: str
    note: str
    version: str
    # Why it failed.
    message: str
    item: Object

    @property
    def manifests(self) -> list[Object]:
        found: list[Object] = json.loads(gzip.decompress(base64.b64decode(self.item["data"]["manifests"])))
        return found


@dataclass(kw_only=True)
class History:
    client: Client
    namespace: str
    release: str
    by: str = ""
    clock: Clock = field(default_factory=SystemClock)

    async def all(self) -> list[Revision]:
        """Newest first."""
        labels = f"{names.PART_LABEL}={names.REVISION},{names.RELEASE_LABEL}={self.release}"
        listing = await self.client.list("v1", "Secret", self.namespace, labels=labels)
        return sorted((_revision(item) for item in listing.items), key=lambda one: one.number, reverse=True)

    async def begin(self, manifests: Sequence[Object], note: str) -> Revision:
        """The pending revision of these manifests.

        The same again after an interruption; the deployed one where it consists of the very same.
        """
        known = await self.all()
        content = json.dumps(list(manifests), sort_keys=True)
        if known and known[0].state in (State.PENDING, State.DEPLOYED):
            if json.dumps(known[0].manifests, sort_keys=True) == content:
                return known[0]
            if known[0].state is State.PENDING:
                await self.mark(known[0], State.FAILED, "interrupted")
        number = known[0].number + 1 if known else 1
        return await self._write(number, manifests, note, State.PENDING)

    async def _write(self, number: int, manifests: Sequence[Object], note: str, state: State) -> Revision:
        # No time in it: the same content is the same bytes.
        packed = gzip.compress(json.dumps(list(manifests)).encode(), mtime=0)
        annotations = {
            _STATE: state,
            _NOTE: note,
            _BY: self.by,
            _VERSION: __version__,
            _AT: self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        item: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": f"{names.bookkeeping(self.release)}-v{number}",
                "namespace": self.namespace,
                "labels": {**names.labels(self.release, names.REVISION), names.REVISION_LABEL: str(number)},
                "annotations": annotations,
            },
            "type": "perijove.io/revision",
            "data": {"manifests": base64.b64encode(packed).decode()},
        }
        try:
            return _revision(await self.client.create(item, manager=names.MANAGER))
        except ObjectExists:
            # The lock keeps others out, so this is our own creation, whose answer was lost.
            return _revision(await self.client.get(Ref.of(item)))

    async def remember(self, manifests: Sequence[Object], note: str) -> Revision:
        """How things were before, to go back to."""
        known = await self.all()
        return await self._write(known[0].number + 1 if known else 1, manifests, note, State.DEPLOYED)

    async def settle(self, revision: Revision) -> None:
        """It came up: what came up before is superseded, and what is too old forgotten."""
        await self.mark(revision, State.DEPLOYED)
        known = await self.all()
        for one in known:
            if one.number != revision.number and one.state in (State.DEPLOYED, State.PENDING):
                await self.mark(one, State.SUPERSEDED)
        # To go back to. As listed before: what was deployed until now counts, and is often the only one.
        good = (State.DEPLOYED, State.SUPERSEDED)
        last_good = next((one.number for one in known if one.number != revision.number and one.state in good), 0)
        for one in known[_KEPT:]:
            if one.number != last_good:
                await self.client.delete(Ref.of(one.item), uid=one.item["metadata"]["uid"])

    async def mark(self, revision: Revision, state: State, message: str = "") -> None:
        annotations: dict[str, Any] = {_STATE: state, _MESSAGE: message[:_LONGEST_MESSAGE] or None}
        await self.client.patch(
            Ref.of(revision.item), {"metadata": {"annotations": annotations}}, manager=names.MANAGER
        )


def _revision(item: Object) -> Revision:
    said = item["metadata"].get("annotations") or {}
    return Revision(
        number=int(item["metadata"]["labels"][names.REVISION_LABEL]),
        state=State(said.get(_STATE, State.FAILED)),
        at=said.get(_AT, ""),
        by=said.get(_BY, ""),
        note=said.get(_NOTE, ""),
        version=said.get(_VERSION, ""),
        message=said.get(_MESSAGE, ""),
        item=item,
    )
