"""NetworkPolicies: who may talk to hub, proxy and users' servers, and whom these may talk to.

Access goes by z2jh's labels (`hub.jupyter.org/network-access-hub: "true"` and the like), which services
beside the hub carry already.
"""

from collections.abc import Sequence
from typing import Final

from perijove.config.schema.pod import EgressAllowRules, NetworkPolicy
from perijove.deploy.render.scope import HTTP_PORT, HTTPS_PORT, HUB_PORT, NOTEBOOK_PORT, Manifest, Scope

_PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
_DNS: Final = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]


def manifests(scope: Scope) -> list[Manifest]:
    settings = scope.settings
    found = []
    if (section := settings.hub.network_policy).enabled:
        ingress = [_from_labelled(section, "network-access-hub", "http")]
        egress = [
            _to(scope, "proxy", HTTP_PORT, HTTPS_PORT),
            _to(scope, "singleuser-server", NOTEBOOK_PORT),
        ]
        found.append(_policy(scope, "hub", section, ingress, egress))
    if (section := settings.proxy.chp.network_policy).enabled:
        ingress = [_from_labelled(section, "network-access-proxy-http", "http")]
        egress = [_to(scope, "hub", HUB_PORT), _to(scope, "singleuser-server", NOTEBOOK_PORT)]
        found.append(_policy(scope, "proxy", section, ingress, egress))
    if (section := settings.singleuser.network_policy).enabled:
        ingress = [_from_labelled(section, "network-access-singleuser", "notebook-port")]
        egress = [_to(scope, "hub", HUB_PORT), _to(scope, "proxy", HTTP_PORT, HTTPS_PORT)]
        found.append(_policy(scope, "singleuser", section, ingress, egress))
    return found


def _policy(
    scope: Scope,
    component: str,
    section: NetworkPolicy,
    ingress: Sequence[Manifest],
    egress: Sequence[Manifest],
) -> Manifest:
    """z2jh calls the policy `singleuser` and the pods `singleuser-server`."""
    selected = "singleuser-server" if component == "singleuser" else component
    anybody = [{"ports": [{"port": port} for port in section.allowed_ingress_ports]}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": scope.metadata(scope.names[component], component),
        "spec": {
            "podSelector": {"matchLabels": scope.selector(selected)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [*(anybody if section.allowed_ingress_ports else []), *ingress, *section.ingress],
            "egress": [*egress, *_allowed(scope, section.egress_allow_rules), *section.egress],
        },
    }


def _from_labelled(section: NetworkPolicy, label: str, port: str) -> Manifest:
    """Pods with this label; those of other namespaces too, if the configuration accepts them."""
    peer: Manifest = {"podSelector": {"matchLabels": {f"hub.jupyter.org/{label}": "true"}}}
    if section.inter_namespace_access_labels == "accept":
        peer["namespaceSelector"] = {}
    return {"ports": [{"port": port}], "from": [peer]}


def _to(scope: Scope, component: str, *ports: int) -> Manifest:
    peer = {"podSelector": {"matchLabels": scope.selector(component)}}
    return {"to": [peer], "ports": [{"port": port} for port in ports]}


def _blocks(*addresses: str) -> list[Manifest]:
    return [{"ipBlock": {"cidr": address}} for address in addresses]


def _allowed(scope: Scope, rules: EgressAllowRules) -> list[Manifest]:
    """`egressAllowRules`."""
    metadata = f"{scope.settings.singleuser.cloud_metadata.ip}/32"
    dns: list[Manifest] = []
    if rules.dns_ports_cloud_metadata_server:
        dns += _blocks(metadata)
    if rules.dns_ports_kube_system_namespace:
        dns.append({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}})
    if rules.dns_ports_private_ips:
        dns += _blocks(*_PRIVATE)
    found: list[Manifest] = []
    if dns:
        found.append({"ports": _DNS, "to": dns})
    if rules.non_private_ips:
        found.append({"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [*_PRIVATE, metadata]}}]})
    if rules.private_ips:
        found.append({"to": _blocks(*_PRIVATE)})
    if rules.cloud_metadata_server:
        found.append({"to": _blocks(metadata)})
    return found
