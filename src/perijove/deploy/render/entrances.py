"""The ways in besides a load balancer: Ingress, HTTPRoute of the Gateway API, HTTPProxy of Contour."""

from typing import Any
from urllib.parse import urlsplit

from perijove.config.schema.settings import HTTPProxy
from perijove.deploy.render.https import HTTPS
from perijove.deploy.render.scope import Manifest, Scope, dns_label, present


def manifests(scope: Scope, https: HTTPS) -> list[Manifest]:
    settings = scope.settings
    found = []
    if settings.ingress.enabled:
        found.append(ingress(scope, https))
    elif scope.is_given("ingress", "hosts") and not scope.is_given("ingress", "enabled"):
        scope.note(("ingress",), "there is no Ingress: `ingress.enabled` is not true")
    if settings.http_route.enabled:
        found.append(http_route(scope, https))
    if settings.http_proxy.enabled:
        found += http_proxies(scope, https)
    return found


def _plain_port(scope: Scope, https: HTTPS) -> tuple[str, int]:
    """The port of `proxy-public` behind which no TLS is spoken, or the only one."""
    section = scope.settings.proxy
    if not section.service.disable_http_port:
        if https.listens:
            text = "with proxy.https, port 80 of the proxies only sends browsers to https; end TLS in one place"
            scope.note(("proxy", "https"), text)
        return "http", 80
    return "https", 443


def _path(scope: Scope, suffix: str | None) -> str:
    return f"{scope.base_url}{(suffix or '').lstrip('/')}"


def _with_users(scope: Scope, hosts: list[str]) -> list[str]:
    """And all hosts below the hub's, where each user has one."""
    traits = scope.settings.hub.config.get("JupyterHub") or {}
    host = urlsplit(str(traits.get("subdomain_host") or "")).hostname
    if not host or host not in hosts or f"*.{host}" in hosts:
        return hosts
    text = f"*.{host} is added to the entrances for users' servers; their certificate must be for that too"
    scope.note(("hub", "config", "JupyterHub", "subdomain_host"), text)
    return [*hosts, f"*.{host}"]


def ingress(scope: Scope, https: HTTPS) -> Manifest:
    section = scope.settings.ingress
    service = {"name": scope.names["proxy-public"], "port": {"name": _plain_port(scope, https)[0]}}
    path = {
        "path": _path(scope, section.path_suffix),
        "pathType": section.path_type,
        "backend": {"service": service},
    }
    http = {"paths": [path, *section.extra_paths]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": scope.metadata(scope.names["ingress"], "ingress", annotations=section.annotations),
        "spec": {
            **present(ingressClassName=section.ingress_class_name),
            "rules": [{**present(host=host), "http": http} for host in _with_users(scope, section.hosts) or [""]],
            **present(tls=section.tls),
        },
    }


def http_route(scope: Scope, https: HTTPS) -> Manifest:
    section = scope.settings.http_route
    parents = list(section.parent_refs)
    if (gateway := section.gateway) is not None:
        parents.append({"name": gateway.name, **present(namespace=gateway.namespace, sectionName=gateway.section_name)})
    if not parents:
        scope.problem(
            ("httpRoute",), "an HTTPRoute needs a Gateway", "add `gateway:` with its `name`, or `parentRefs:`"
        )
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": scope.base_url}}],
        "backendRefs": [{"name": scope.names["proxy-public"], "port": _plain_port(scope, https)[1]}],
        **present(timeouts=section.timeouts),
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": scope.metadata(scope.names["ingress"], "httproute", annotations=section.annotations),
        "spec": {"parentRefs": parents, **present(hostnames=_with_users(scope, section.hostnames)), "rules": [rule]},
    }


def http_proxies(scope: Scope, https: HTTPS) -> list[Manifest]:
    """One for each host: Contour's virtual host has one name."""
    section = scope.settings.http_proxy
    if not section.hosts:
        scope.problem(("httpProxy", "hosts"), "an HTTPProxy needs a host name", "add `hosts: [hub.example.org]`")
    names = _names(scope.names["ingress"], section.hosts)
    found = [_http_proxy(scope, section, https, name, host) for name, host in zip(names, section.hosts, strict=True)]
    if section.tls.issuer is not None and section.hosts:
        found.append(_certificate(scope, section))
    return found


def _names(base: str, hosts: list[str]) -> list[str]:
    """The first has the plain name, so that one host, the usual case, reads well."""
    return [base, *(dns_label(f"{base}-{host}") for host in hosts[1:])][: len(hosts)]


def _http_proxy(scope: Scope, section: HTTPProxy, https: HTTPS, name: str, host: str) -> Manifest:
    port = 443 if section.tls.passthrough else _plain_port(scope, https)[1]
    service = {"name": scope.names["proxy-public"], "port": port}
    virtual_host: dict[str, Any] = {"fqdn": host}
    spec: dict[str, Any] = {**present(ingressClassName=section.ingress_class_name), "virtualhost": virtual_host}
    if section.tls.passthrough:
        virtual_host["tls"] = {"passthrough": True}
        spec["tcpproxy"] = {"services": [service]}
        if not https.listens:
            text = "with TLS passed through, the proxies have to speak it: set proxy.https to manual or secret"
            scope.problem(("httpProxy", "tls", "passthrough"), "nobody ends TLS", text)
    else:
        if secret := _secret_name(scope, section):
            virtual_host["tls"] = {"secretName": secret}
        route = {
            "conditions": [{"prefix": scope.base_url}],
            "enableWebsockets": True,
            "services": [service],
            **present(timeoutPolicy=section.timeout_policy, loadBalancerPolicy=section.load_balancer_policy),
        }
        spec["routes"] = [route]
    metadata = scope.metadata(name, "ingress", annotations=section.annotations)
    return {"apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": metadata, "spec": spec}


def _secret_name(scope: Scope, section: HTTPProxy) -> str:
    if section.tls.secret_name:
        return section.tls.secret_name
    return f"{scope.names['ingress']}-tls" if section.tls.issuer is not None else ""


def _certificate(scope: Scope, section: HTTPProxy) -> Manifest:
    """cert-manager's, for all hosts; renewed by it."""
    name = _secret_name(scope, section)
    assert section.tls.issuer is not None
    issuer = section.tls.issuer.model_dump()
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": scope.metadata(name, "ingress"),
        "spec": {"secretName": name, "dnsNames": section.hosts, "issuerRef": issuer},
    }
