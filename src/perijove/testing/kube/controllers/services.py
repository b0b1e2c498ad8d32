"""Services: which pods answer for them, and addresses of load balancers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from perijove.testing.kube.api.options import DeleteOptions
from perijove.testing.kube.api.store import Change, copied
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, Name, name_of, owner_reference
from perijove.testing.kube.objects.resources import Object
from perijove.testing.kube.objects.selectors import object_selector

_SLICES = "endpointslices.discovery.k8s.io"


@dataclass
class Services:
    control: Control
    next_balancer: Callable[[], str]
    # Services by name whose load balancer is not made.
    held: set[str] = field(default_factory=set)

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == "services":
            return [name_of(change.item)]
        if change.resource.qualified == "pods":
            namespace = change.item["metadata"]["namespace"]
            return [name_of(item) for item in self.control.items("services", namespace)]
        return []

    def look(self, name: Name) -> None:
        service = self.control.find("services", name)
        if service is None:
            self._forget(name)
            return
        self._balance(service)
        if service["spec"].get("selector"):
            self._endpoints(service)

    def _balance(self, service: Object) -> None:
        ingress = (service["status"].get("loadBalancer") or {}).get("ingress")
        wanted = service["spec"]["type"] == "LoadBalancer"
        source = "service-controller"
        if wanted and not ingress and service["metadata"]["name"] not in self.held:
            address = service["spec"].get("loadBalancerIP") or self.next_balancer()
            status = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
            self.control.set_status("services", service, status)
            self.control.recorder.say(service, "EnsuredLoadBalancer", "Ensured load balancer", source=source)
        elif ingress and not wanted:
            self.control.set_status("services", service, {"loadBalancer": {}})

    def _endpoints(self, service: Object) -> None:
        namespace, name = name_of(service)
        chosen = object_selector({"matchLabels": service["spec"]["selector"]})
        found = [
            pod
            for pod in pods.active(self.control.items("pods", namespace))
            if chosen(pod["metadata"].get("labels") or {}) and pod["status"].get("podIP")
        ]
        ports = [dict(_port(port, found)) for port in service["spec"].get("ports") or ()]
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        ready = [pod for pod in found if publish or pods.is_ready(pod)]
        unready = [pod for pod in found if pod not in ready]
        subset: Object = {}
        if ready:
            subset["addresses"] = [_address(pod) for pod in ready]
        if unready:
            subset["notReadyAddresses"] = [_address(pod) for pod in unready]
        if subset and ports:
            subset["ports"] = ports
        self._write("endpoints", service, {"subsets": [subset] if subset else []}, {"metadata": {"name": name}})
        entries = [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {"ready": pod in ready, "serving": pod in ready, "terminating": False},
                "targetRef": _address(pod)["targetRef"],
            }
            for pod in found
        ]
        metadata = {
            "name": f"{name}-slice",
            "labels": {"kubernetes.io/service-name": name},
            "ownerReferences": [owner_reference(self.control.resource("services"), service)],
        }
        self._write(
            _SLICES, service, {"endpoints": entries, "ports": ports}, {"metadata": metadata, "addressType": "IPv4"}
        )

    def _write(self, qualified: str, service: Object, content: Object, frame: Object) -> None:
        namespace = service["metadata"]["namespace"]
        live = self.control.find(qualified, (namespace, frame["metadata"]["name"]))
        if live is None:
            self.control.create(qualified, namespace, copied(frame | content))
        elif any(live.get(key, []) != value for key, value in content.items()):
            self.control.change(qualified, live, lambda latest: latest.update(copied(content)))

    def _forget(self, name: Name) -> None:
        if self.control.find("endpoints", name) is not None:
            self.control.deletion.delete(self.control.resource("endpoints"), *name, DeleteOptions())


def _port(port: Object, found: list[Object]) -> Iterator[tuple[str, object]]:
    if port.get("name"):
        yield "name", port["name"]
    target: int | str = port.get("targetPort") or int(port["port"])
    if isinstance(target, str) and not target.isdigit():
        named = (
            int(one["containerPort"])
            for pod in found
            for container in pod["spec"]["containers"]
            for one in container.get("ports") or ()
            if one.get("name") == target
        )
        target = next(named, int(port["port"]))
    yield "port", int(target)
    yield "protocol", port.get("protocol", "TCP")


def _address(pod: Object) -> Object:
    metadata = pod["metadata"]
    keys = ("namespace", "name", "uid")
    reference = {"kind": "Pod", **{key: metadata[key] for key in keys}}
    return {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": reference}
