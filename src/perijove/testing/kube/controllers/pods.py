"""Pods of a controller: which there are, how they are, making and ending them."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from perijove.testing.kube.api.options import DeleteOptions
from perijove.testing.kube.controllers.loop import Control, owner_reference
from perijove.testing.kube.objects.failures import ApiFailure
from perijove.testing.kube.objects.resources import Object

_HASH_LENGTH = 10
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def owned(control: Control, qualified: str, owner: Object) -> list[Object]:
    """Objects that `owner` controls, oldest first."""
    uid = owner["metadata"]["uid"]
    found = [
        item
        for item in control.items(qualified, owner["metadata"]["namespace"])
        if any(one["uid"] == uid and one.get("controller") for one in item["metadata"].get("ownerReferences") or ())
    ]
    return sorted(found, key=lambda item: str(item["metadata"]["creationTimestamp"]))


def active(pods: Sequence[Object]) -> list[Object]:
    return [
        pod
        for pod in pods
        if pod["status"].get("phase") not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")
    ]


def is_ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ())


def is_available(pod: Object, seconds: float) -> bool:
    """Ready for that long."""
    for one in pod["status"].get("conditions") or ():
        if one["type"] == "Ready" and one["status"] == "True":
            return age_seconds(one["lastTransitionTime"]) >= seconds
    return False


def age_seconds(time: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


def template_hash(template: Object) -> str:
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:_HASH_LENGTH])


def make(
    control: Control, qualified: str, owner: Object, *, name: str = "", labels: Object | None = None, spec: Object
) -> Object:
    """From the owner's template. Raises what admission says; says so in an event as well."""
    template = owner["spec"]["template"]
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **(labels or {})}
    metadata["ownerReferences"] = [owner_reference(control.resource(qualified), owner)]
    metadata |= {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
    source = f"{owner['kind'].lower()}-controller"
    try:
        pod = control.create("pods", owner["metadata"]["namespace"], {"metadata": metadata, "spec": spec})
    except ApiFailure as failure:
        control.recorder.say(owner, "FailedCreate", f"Error creating: {failure}", kind="Warning", source=source)
        raise
    control.recorder.say(owner, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}", source=source)
    return pod


def end(control: Control, owner: Object, pod: Object) -> None:
    metadata = pod["metadata"]
    control.deletion.delete(control.resource("pods"), metadata["namespace"], metadata["name"], DeleteOptions())
    source = f"{owner['kind'].lower()}-controller"
    control.recorder.say(owner, "SuccessfulDelete", f"Deleted pod: {metadata['name']}", source=source)


def condition(
    before: Sequence[Object], name: str, *, status: bool, reason: str, message: str, now: str, moved: bool = False
) -> Object:
    """`moved`: something happened, though status and reason are as before."""
    made: Object = {
        "type": name,
        "status": "True" if status else "False",
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
    for old in before:
        if old["type"] == name and old["status"] == made["status"]:
            made["lastTransitionTime"] = old["lastTransitionTime"]
            if (old["reason"], old["message"]) == (reason, message) and not moved:
                made["lastUpdateTime"] = old["lastUpdateTime"]
    return made
