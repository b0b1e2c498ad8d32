"""The ways in: what Kubernetes publishes no schemas for, and what has to fit between several objects."""

import pytest

from perijove.config import ConfigError

# -- Ingress -------------------------------------------------------------------------------------


def test_without_hosts_an_ingress_serves_every_name(rendered):
    found, _ = rendered("ingress: {enabled: true}")
    (rule,) = found["Ingress", "jupyterhub"]["spec"]["rules"]
    assert "host" not in rule
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/", "Prefix")
    assert path["backend"] == {"service": {"name": "proxy-public", "port": {"name": "http"}}}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{hub: {baseUrl: /a/}, ingress: {enabled: true}}", "/a/"),
        ("{hub: {baseUrl: a}, ingress: {enabled: true, pathSuffix: '*'}}", "/a/*"),
        ("{hub: {config: {JupyterHub: {base_url: /b}}}, ingress: {enabled: true}}", "/b/"),
    ],
)
def test_the_path_of_an_ingress_is_the_hubs(rendered, text, path):
    found, _ = rendered(text)
    assert found["Ingress", "jupyterhub"]["spec"]["rules"][0]["http"]["paths"][0]["path"] == path
    probe = found["Deployment", "hub"]["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    assert probe["httpGet"]["path"] == f"{path.rstrip('*')}hub/health"


def test_hosts_of_users_reach_the_proxies_too(rendered):
    """By the Ingress and by the HTTPRoute, and with a word about certificates."""
    found, notes = rendered(
        "{hub: {config: {JupyterHub: {subdomain_host: 'https://hub.example.org'}}},"
        " ingress: {enabled: true, hosts: [hub.example.org]},"
        " httpRoute: {enabled: true, gateway: {name: g}, hostnames: [hub.example.org]}}"
    )
    hosts = [rule["host"] for rule in found["Ingress", "jupyterhub"]["spec"]["rules"]]
    assert hosts == found["HTTPRoute", "jupyterhub"]["spec"]["hostnames"] == ["hub.example.org", "*.hub.example.org"]
    assert any("certificate" in str(note) for note in notes)


def test_an_ingress_that_is_described_and_not_enabled_is_noted(rendered):
    found, notes = rendered("ingress: {hosts: [hub.example.org]}")
    assert ("Ingress", "jupyterhub") not in found
    assert "ingress.enabled" in str(notes[0])


def test_two_ends_of_tls_behind_each_other_are_noted(rendered):
    _, notes = rendered(
        "{ingress: {enabled: true}, proxy: {https: {enabled: true, type: manual, manual: {key: K, cert: C}}}}"
    )
    assert "one place" in str(notes[0])


# -- HTTPRoute -----------------------------------------------------------------------------------


def test_an_http_route_joins_gateway_hosts_and_the_public_service(rendered):
    found, _ = rendered(
        "httpRoute: {enabled: true, hostnames: [a.b], gateway: {name: shared, namespace: edge, sectionName: web}}"
    )
    route = found["HTTPRoute", "jupyterhub"]
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"] == {
        "parentRefs": [{"name": "shared", "namespace": "edge", "sectionName": "web"}],
        "hostnames": ["a.b"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "proxy-public", "port": 80}],
            }
        ],
    }


def test_an_http_route_without_a_gateway_is_refused(rendered):
    with pytest.raises(ConfigError, match="needs a Gateway"):
        rendered("httpRoute: {enabled: true}")


# -- Contour -------------------------------------------------------------------------------------


def test_contour_lets_websockets_and_long_answers_through(rendered):
    found, _ = rendered("httpProxy: {enabled: true, hosts: [a.b], tls: {secretName: cert}}")
    proxy = found["HTTPProxy", "jupyterhub"]
    assert proxy["apiVersion"] == "projectcontour.io/v1"
    assert proxy["spec"] == {
        "virtualhost": {"fqdn": "a.b", "tls": {"secretName": "cert"}},
        "routes": [
            {
                "conditions": [{"prefix": "/"}],
                "enableWebsockets": True,
                "services": [{"name": "proxy-public", "port": 80}],
                "timeoutPolicy": {"response": "infinity", "idle": "1h"},
            }
        ],
    }


def test_cert_managers_certificate_is_for_all_hosts_and_in_the_secret_that_contour_reads(rendered):
    found, _ = rendered("httpProxy: {enabled: true, hosts: [a.b, c.d], tls: {issuer: {name: letsencrypt}}}")
    certificate = found["Certificate", "jupyterhub-tls"]
    assert certificate["apiVersion"] == "cert-manager.io/v1"
    assert certificate["spec"] == {
        "secretName": "jupyterhub-tls",
        "dnsNames": ["a.b", "c.d"],
        "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io"},
    }
    hosts = {
        item["spec"]["virtualhost"]["fqdn"]: item["spec"]["virtualhost"]["tls"]
        for (kind, _), item in found.items()
        if kind == "HTTPProxy"
    }
    assert hosts == {"a.b": {"secretName": "jupyterhub-tls"}, "c.d": {"secretName": "jupyterhub-tls"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{enabled: true}", "needs a host name"),
        ("{enabled: true, hosts: [a.b], tls: {passthrough: true}}", "nobody ends TLS"),
    ],
)
def test_an_http_proxy_that_cannot_work_is_refused(rendered, text, message):
    with pytest.raises(ConfigError, match=message):
        rendered(f"httpProxy: {text}")
