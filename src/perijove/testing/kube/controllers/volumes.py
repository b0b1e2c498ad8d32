"""Persistent volumes: a claim gets one from its storage class at once, unless a test holds it back."""

from dataclasses import dataclass, field

from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers.loop import Control, Name, name_of
from perijove.testing.kube.objects.quantities import amount
from perijove.testing.kube.objects.resources import Object

SOURCE = "persistentvolume-controller"
_PROTECTION = "kubernetes.io/pvc-protection"
_CLAIMS = "persistentvolumeclaims"


@dataclass
class VolumeBinder:
    control: Control
    # Claims of these storage classes stay Pending.
    stuck_classes: set[str] = field(default_factory=set)
    # Claims by name that keep their protection, and so stay Terminating.
    undying: set[str] = field(default_factory=set)

    def names(self, change: Change) -> list[Name]:
        match change.resource.plural:
            case "persistentvolumeclaims":
                return [name_of(change.item)]
            case "persistentvolumes" | "storageclasses":
                return [name_of(claim) for claim in self.control.items(_CLAIMS)]
            case "pods":
                namespace = change.item["metadata"]["namespace"]
                return [(namespace, name) for name in claims_of(change.item)]
            case _:
                return []

    def look(self, name: Name) -> None:
        claim = self.control.find(_CLAIMS, name)
        if claim is None:
            self._release(name)
        elif claim["metadata"].get("deletionTimestamp"):
            self._end(claim)
        elif claim["status"]["phase"] == "Pending":
            self._bind(claim)

    def _bind(self, claim: Object) -> None:
        spec = claim["spec"]
        class_name = spec.get("storageClassName")
        if (volume := self._present(claim)) is not None:
            self._bound(claim, volume)
            return
        if class_name == "" or spec.get("volumeName"):
            words = "no persistent volumes available for this claim and no storage class is set"
            self.control.recorder.say(claim, "FailedBinding", words, source=SOURCE)
            return
        found = self.control.find("storageclasses.storage.k8s.io", ("", class_name or ""))
        if found is None:
            words = f'storageclass.storage.k8s.io "{class_name}" not found'
            if class_name:
                self.control.recorder.say(claim, "ProvisioningFailed", words, kind="Warning", source=SOURCE)
            return
        if class_name in self.stuck_classes:
            provisioner = found["provisioner"]
            words = (
                "Waiting for a volume to be created either by the external provisioner "
                f"'{provisioner}' or manually by the system administrator. If volume creation is delayed, please "
                "verify that the provisioner is running and correctly registered."
            )
            self.control.recorder.say(claim, "ExternalProvisioning", words, source=SOURCE)
            return
        if found.get("volumeBindingMode") == "WaitForFirstConsumer" and not self._wanted(claim):
            words = "waiting for first consumer to be created before binding"
            self.control.recorder.say(claim, "WaitForFirstConsumer", words, source=SOURCE)
            return
        self._bound(claim, self._provision(claim, found))

    def _present(self, claim: Object) -> Object | None:
        """A volume made by hand that fits."""
        spec = claim["spec"]
        for volume in self.control.items("persistentvolumes"):
            named = spec.get("volumeName") == volume["metadata"]["name"]
            free = volume["status"].get("phase") in ("Available", "Pending")
            reference = volume["spec"].get("claimRef") or {}
            mine = (reference.get("namespace"), reference.get("name")) == name_of(claim)
            same_class = (volume["spec"].get("storageClassName") or "") == (spec.get("storageClassName") or "")
            if named or (free and mine) or (free and not reference and same_class and _large_enough(volume, claim)):
                return volume
        return None

    def _provision(self, claim: Object, storage_class: Object) -> Object:
        metadata = claim["metadata"]
        body: Object = {
            "metadata": {"name": f"pvc-{metadata['uid']}", "finalizers": ["kubernetes.io/pv-protection"]},
            "spec": {
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": storage_class["reclaimPolicy"],
                "storageClassName": storage_class["metadata"]["name"],
                "csi": {"driver": storage_class["provisioner"], "volumeHandle": metadata["uid"]},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        volume = self.control.create("persistentvolumes", "", body)
        words = f"Successfully provisioned volume {body['metadata']['name']}"
        self.control.recorder.say(claim, "ProvisioningSucceeded", words, source=storage_class["provisioner"])
        return volume

    def _bound(self, claim: Object, volume: Object) -> None:
        namespace, name = name_of(claim)
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace,
            "name": name,
            "uid": claim["metadata"]["uid"],
        }
        self.control.change("persistentvolumes", volume, lambda latest: latest["spec"].update(claimRef=reference))
        self.control.set_status("persistentvolumes", volume, {"phase": "Bound"})
        self.control.change(_CLAIMS, claim, lambda latest: latest["spec"].update(volumeName=volume["metadata"]["name"]))
        status = {
            "phase": "Bound",
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": volume["spec"]["capacity"]["storage"]},
        }
        self.control.set_status(_CLAIMS, claim, status)

    def _wanted(self, claim: Object) -> bool:
        namespace, name = name_of(claim)
        return any(name in claims_of(pod) for pod in self.control.items("pods", namespace))

    def _end(self, claim: Object) -> None:
        """Its protection goes once no pod that has not ended uses it."""
        namespace, name = name_of(claim)
        used = any(
            name in claims_of(pod) and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
            for pod in self.control.items("pods", namespace)
        )
        finalizers = claim["metadata"].get("finalizers") or []
        if not used and name not in self.undying and _PROTECTION in finalizers:
            rest = [one for one in finalizers if one != _PROTECTION]
            self.control.change(_CLAIMS, claim, lambda latest: latest["metadata"].update(finalizers=rest))

    def _release(self, name: Name) -> None:
        for volume in self.control.items("persistentvolumes"):
            reference = volume["spec"].get("claimRef") or {}
            if (reference.get("namespace"), reference.get("name")) != name or volume["status"]["phase"] != "Bound":
                continue
            if volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                self.control.store.remove(self.control.resource("persistentvolumes"), volume)
            else:
                self.control.set_status("persistentvolumes", volume, {"phase": "Released"})


def claims_of(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]


def _large_enough(volume: Object, claim: Object) -> bool:
    has, wants = volume["spec"]["capacity"]["storage"], claim["spec"]["resources"]["requests"]["storage"]
    return amount(has) >= amount(wants)
