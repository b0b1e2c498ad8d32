"""What the control plane does about a node that it hears nothing from. When, is for a test to say: really it takes
forty seconds until a node is unreachable, and five minutes more until its pods are given up."""

from dataclasses import dataclass

from perijove.testing.kube.api.options import DeleteOptions, now
from perijove.testing.kube.controllers.loop import Control
from perijove.testing.kube.kubelet.node import Kubelet
from perijove.testing.kube.objects.resources import Object

_SOURCE = "node-controller"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_SILENT = "Kubelet stopped posting node status."


@dataclass
class Nodes:
    control: Control
    kubelet: Kubelet

    def lose(self) -> None:
        """The machine is cut off: its pods run on, nobody hears of them, and nothing told to it arrives."""
        self.kubelet.deaf = True
        taints = [{"key": _UNREACHABLE, "effect": effect, "timeAdded": now()} for effect in ("NoSchedule", "NoExecute")]
        self._node("Unknown", "NodeStatusUnknown", _SILENT, taints)
        for pod in self._pods():
            self._condition(pod, {"type": "Ready", "status": "False"})
            self.control.recorder.say(pod, "NodeNotReady", "Node is not ready", kind="Warning", source=_SOURCE)

    def recover(self) -> None:
        """It is back before its pods were given up; they never stopped."""
        self.kubelet.deaf = False
        self._node("True", "KubeletReady", "kubelet is posting ready status", [])
        for pod in self._pods():
            self._condition(pod, {"type": "Ready", "status": "True"})

    def give_up(self) -> None:
        """Delete its pods, which stay for as long as no kubelet confirms that they have ended."""
        for pod in self._pods():
            words = f"Taint manager: deleting due to NoExecute taint {_UNREACHABLE}"
            disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
            self._condition(pod, disrupted | {"message": words})
            metadata = pod["metadata"]
            resource = self.control.resource("pods")
            self.control.deletion.delete(resource, metadata["namespace"], metadata["name"], DeleteOptions())

    def _pods(self) -> list[Object]:
        return [pod for pod in self.control.items("pods") if pod["spec"].get("nodeName") == self.kubelet.name]

    def _node(self, status: str, reason: str, message: str, taints: list[Object]) -> None:
        node = self.control.find("nodes", ("", self.kubelet.name))
        assert node is not None
        self.control.change("nodes", node, lambda latest: latest["spec"].update(taints=taints))
        ready = {"type": "Ready", "status": status, "reason": reason, "message": message}
        conditions = [ready | {"lastTransitionTime": now()}]
        self.control.set_status("nodes", node, node["status"] | {"conditions": conditions}, manager=_SOURCE)

    def _condition(self, pod: Object, condition: Object) -> None:
        others = [one for one in pod["status"].get("conditions") or () if one["type"] != condition["type"]]
        conditions = [*others, condition | {"lastTransitionTime": now()}]
        self.control.set_status("pods", pod, pod["status"] | {"conditions": conditions}, manager=_SOURCE)
