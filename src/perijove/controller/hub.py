"""The object `Hub`: what the chart asks for, and the conditions that say what became of it.

Its specification holds no configuration, which is in a Secret, only a checksum of it: so that each change of the
values is a new generation, and `kubectl wait`, Flux and Argo CD can tell whether a condition is about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from perijove.kube.refs import Object, Ref

API_VERSION: Final = "perijove.io/v1alpha1"
KIND: Final = "Hub"
# Another value is another attempt at values that failed.
RETRY: Final = "perijove.io/retry"
_LONGEST_MESSAGE: Final = 8000


def hub_ref(namespace: str, release: str) -> Ref:
    return Ref(API_VERSION, KIND, release, namespace)


class Phase(StrEnum):
    """Where a release stands."""

    PROGRESSING = "progressing"
    READY = "ready"
    # It will be tried again.
    FAILED = "failed"
    # Nothing will happen until somebody changes something.
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Situation:
    """`reason` is one of the words of docs/reference/conditions.md."""

    phase: Phase
    reason: str
    message: str
    # Fields that others hold, and which are left to them.
    conflict: str = ""


# What it means that each is true; the page of the reference is made of this.
CONDITIONS: Final = {
    "Ready": "what the values ask for is deployed and has come up",
    "Progressing": "the controller is at work; the message says what it waits for",
    "Degraded": "what the values ask for is not deployed; what was deployed before still serves",
    "Stalled": "as Degraded, and nothing is tried again before the values change or `perijove.io/retry` does",
    "Conflict": "fields that somebody else declared as theirs are left to them",
}
REASONS: Final = {
    "Deployed": "everything is up",
    "Deploying": "being applied, or waited for",
    "ValuesPending": "the pod does not have the newest values yet; the kubelet brings them within a minute",
    "ValuesInvalid": "the values cannot be used; the message names every key, with line and remedy",
    "RolloutFailed": "it did not come up, and the revision before was restored; the message has the pods' last words",
    "Blocked": "objects that cannot be applied: a field conflict, a missing permission, a field that can never change",
    "OtherDeployer": "`perijove deploy` has this release; the message says how to hand it over",
    "DeployFailed": "anything else that ended a deploy; the message says what",
    "ClusterUnavailable": "the API server does not answer; it is asked again",
    "NotAvailable": "deployed, and pods of it are not ready now",
    "NothingLeftOut": "no conflict",
    "FieldsLeft": "the message names the fields, and who has them",
}


def conditions(situation: Situation, before: Sequence[Object], *, generation: int, now: datetime) -> list[Object]:
    """Those of `before` keep the time of their last transition where nothing turned."""
    phase, message = situation.phase, situation.message[:_LONGEST_MESSAGE]
    stalled = phase is Phase.STALLED
    true = {
        "Ready": phase is Phase.READY,
        "Progressing": phase is Phase.PROGRESSING,
        "Degraded": phase in (Phase.FAILED, Phase.STALLED),
        "Stalled": stalled,
        "Conflict": bool(situation.conflict),
    }
    known = {one["type"]: one for one in before}
    found = []
    for kind, holds in true.items():
        status = "True" if holds else "False"
        old = known.get(kind) or {}
        since = old["lastTransitionTime"] if old.get("status") == status else now.strftime("%Y-%m-%dT%H:%M:%SZ")
        reason, words = situation.reason, message
        if kind == "Conflict":
            reason = "FieldsLeft" if situation.conflict else "NothingLeftOut"
            words = situation.conflict[:_LONGEST_MESSAGE]
        found.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": words,
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return found


def attempt_of(hub: Object) -> str:
    """Names what is asked for: what failed once under this name is not tried again by itself."""
    retry = (hub["metadata"].get("annotations") or {}).get(RETRY) or ""
    return f"{checksum_of(hub)}/{retry}"


def checksum_of(hub: Object) -> str:
    return str((hub.get("spec") or {}).get("checksum") or "")


def failed_attempt(hub: Object) -> str:
    status: dict[str, Any] = hub.get("status") or {}
    return str(status.get("failedAttempt") or "")
