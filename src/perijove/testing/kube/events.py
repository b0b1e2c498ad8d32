"""Events as controllers and kubelets write them: the same said again is counted, not repeated."""

import secrets
from dataclasses import dataclass, field

from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import WriteOptions, now
from perijove.testing.kube.api.store import copied
from perijove.testing.kube.objects.failures import ApiFailure
from perijove.testing.kube.objects.resources import Object

_GONE = frozenset({403, 404})


@dataclass
class Recorder:
    objects: Objects
    _said: dict[tuple[str, ...], str] = field(default_factory=dict)

    def say(
        self, about: Object, reason: str, message: str, *, kind: str = "Normal", source: str = "", field_path: str = ""
    ) -> None:
        """`about` needs kind, apiVersion and metadata. Nothing once its namespace is going."""
        metadata = about["metadata"]
        namespace = metadata.get("namespace", "default")
        events = self.objects.resource("events")
        said = (metadata["uid"], reason, message, kind, source, field_path)
        known = self.objects.store.get(events, namespace, self._said.get(said, ""))
        if known is not None:
            again = copied(known)
            again |= {"count": known["count"] + 1, "lastTimestamp": now()}
            self.objects.store.put(events, again)
            return
        involved = {
            "kind": about["kind"],
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": metadata["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        }
        if field_path:
            involved["fieldPath"] = field_path
        body = {
            "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}", "namespace": namespace},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": source},
            "reportingComponent": source,
            "reportingInstance": "",
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
            "eventTime": None,
        }
        try:
            event = self.objects.create(events, namespace, body, WriteOptions(manager=source or "kubelet"))
        except ApiFailure as failure:
            if failure.code not in _GONE:
                raise
            return
        self._said[said] = event["metadata"]["name"]
