"""What is deployed, whether it is up, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perijove.deploy import existing
from perijove.deploy.diagnosis import Trouble
from perijove.deploy.errors import NothingDeployed
from perijove.deploy.history import History, Revision
from perijove.deploy.inventory import Inventory
from perijove.deploy.report import Silence
from perijove.deploy.rollout import Progress, progress
from perijove.deploy.waiting import Waiting
from perijove.kube.client import Client
from perijove.kube.refs import Object, Ref

_WORKLOADS = frozenset({"Deployment", "DaemonSet"})


@dataclass(frozen=True, kw_only=True)
class Status:
    release: str
    namespace: str
    revisions: Sequence[Revision]
    workloads: Sequence[Progress]
    # Objects that somebody deleted.
    missing: Sequence[Ref]
    troubles: Sequence[Trouble]
    addresses: Sequence[str]

    @property
    def current(self) -> Revision | None:
        return self.revisions[0] if self.revisions else None

    @property
    def ready(self) -> bool:
        return not self.missing and all(one.done for one in self.workloads)

    def as_dict(self, *, history: bool) -> dict[str, Any]:
        found: dict[str, Any] = {
            "release": self.release,
            "namespace": self.namespace,
            "ready": self.ready,
            "revision": _plain(self.current) if self.current else None,
            "workloads": [
                {"kind": one.ref.kind, "name": one.ref.name, "ready": one.done, "text": one.text}
                for one in self.workloads
            ],
            "missing": [str(ref) for ref in self.missing],
            "troubles": [{"pod": one.pod, "kind": one.kind, "text": one.text} for one in self.troubles],
            "addresses": list(self.addresses),
        }
        if history:
            found["history"] = [_plain(one) for one in self.revisions]
        return found


def _plain(revision: Revision) -> dict[str, Any]:
    return {
        "number": revision.number,
        "state": str(revision.state),
        "at": revision.at,
        "by": revision.by,
        "what": revision.note,
        "version": revision.version,
        "message": revision.message,
    }


async def read_status(client: Client, namespace: str, wanted: str | None) -> Status:
    """Raises `NothingDeployed`."""
    name = await existing.find_release(client, namespace, wanted)
    inventory = await Inventory.load(client, namespace, name or wanted or namespace)
    if name is None or not inventory.exists:
        by_helm = f"; there is a release {name}, which Perijove did not deploy" if name else ""
        raise NothingDeployed(
            f"nothing is deployed by Perijove in the namespace {namespace}{by_helm}",
            remedy="Deploy it with --take-over." if by_helm else "",
        )
    waiting = Waiting(client=client, namespace=namespace, report=Silence())
    workloads: list[Progress] = []
    missing: list[Ref] = []
    troubles: list[Trouble] = []
    addresses: list[str] = []
    for ref in inventory.objects:
        item = await client.find(ref)
        if item is None:
            missing.append(ref)
        elif ref.kind in _WORKLOADS:
            workloads.append(progress(item))
            troubles += [] if workloads[-1].done else await waiting.troubles(item)
        else:
            addresses += addresses_of(item)
    return Status(
        release=name,
        namespace=namespace,
        revisions=await History(client=client, namespace=namespace, release=name).all(),
        workloads=workloads,
        missing=missing,
        troubles=troubles,
        addresses=addresses,
    )


def addresses_of(item: Object) -> list[str]:
    """Where people reach the hub, as far as an object tells."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    match item["kind"]:
        case "Service" if spec.get("type") == "LoadBalancer":
            given = (status.get("loadBalancer") or {}).get("ingress") or ()
            secure = any(port.get("port") == 443 for port in spec.get("ports") or ())  # noqa: PLR2004 - https
            scheme = "https" if secure else "http"
            found = [f"{scheme}://{one.get('hostname') or one.get('ip')}" for one in given]
            return found or ["the load balancer has no address yet"]
        case "Ingress":
            secure_hosts = {host for entry in spec.get("tls") or () for host in entry.get("hosts") or ()}
            hosts = [rule.get("host") for rule in spec.get("rules") or () if rule.get("host")]
            return [f"{'https' if host in secure_hosts else 'http'}://{host}" for host in hosts]
        case "HTTPRoute":
            return [f"https://{host}" for host in spec.get("hostnames") or ()]
        case "HTTPProxy":
            host = spec.get("virtualhost") or {}
            return [f"{'https' if host.get('tls') else 'http'}://{host.get('fqdn')}"]
    return []
