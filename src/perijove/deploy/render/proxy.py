"""Our proxies, in place of z2jh's one.

The Deployment has z2jh's name, labels and selector, so that `proxy-public`, which holds the address
that the world knows, goes on selecting the right pods; its container keeps the name `chp`, so that an
old container of that name is replaced and not joined. The Service `proxy-api` is not made: nobody tells
our proxies anything, they ask the hub.
"""

from typing import Any, Final

from perijove.deploy.release import AUTH_TOKEN
from perijove.deploy.render import pods
from perijove.deploy.render.https import CERTIFICATES_DIR, HTTPS, strict_transport_security
from perijove.deploy.render.hub import STOP_DELAY_SECONDS
from perijove.deploy.render.scope import (
    CONFIG_HASH,
    HTTP_PORT,
    HTTPS_PORT,
    HUB_PORT,
    METRICS_PORT,
    Manifest,
    Scope,
    digest,
    present,
)
from perijove.deploy.render.volumes import Volumes

_DEFAULT_REPLICAS: Final = 2
_GRACE_SECONDS: Final = 60
# Of it, for closing what is then still open.
_SPARE_SECONDS: Final = 10
_STATE_DIR: Final = "/var/lib/perijove"


def manifests(scope: Scope, secret: Manifest, https: HTTPS) -> list[Manifest]:
    proxy = scope.settings.proxy
    replicas = _DEFAULT_REPLICAS if proxy.replicas is None else proxy.replicas
    found = [deployment(scope, secret, https, replicas), public_service(scope, https)]
    budget = proxy.chp.pdb
    if budget.enabled or (replicas > 1 and not scope.is_given("proxy", "chp", "pdb", "enabled")):
        found.append(pods.disruption_budget(scope, scope.names["proxy"], "proxy", budget, ("proxy", "chp", "pdb")))
    return found


def deployment(scope: Scope, secret: Manifest, https: HTTPS, replicas: int) -> Manifest:
    proxy, names = scope.settings.proxy, scope.names
    access = ("network-access-hub", "network-access-singleuser")
    labels = {**scope.pod_labels("proxy"), **{f"hub.jupyter.org/{name}": "true" for name in access}, **proxy.labels}
    annotations = {
        CONFIG_HASH: _config_hash(scope, secret),
        "prometheus.io/scrape": "true",
        "prometheus.io/path": "/metrics",
        "prometheus.io/port": str(METRICS_PORT),
        **proxy.annotations,
    }
    chosen = proxy.deployment_strategy.type if scope.is_given("proxy", "deploymentStrategy", "type") else None
    spec = {
        "replicas": replicas,
        **present(revisionHistoryLimit=proxy.chp.revision_history_limit),
        "selector": {"matchLabels": scope.selector("proxy")},
        "strategy": pods.strategy(proxy.deployment_strategy, chosen or "RollingUpdate"),
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": _pod(scope, https, replicas)},
    }
    metadata = scope.metadata(names["proxy"], "proxy")
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _config_hash(scope: Scope, secret: Manifest) -> str:
    """A new token and a new certificate in the file mean new pods; one in a Secret is read again by itself."""
    manual = scope.settings.proxy.https.manual
    return digest([secret["data"][AUTH_TOKEN], manual.cert, manual.private_key])


def _pod(scope: Scope, https: HTTPS, replicas: int) -> Manifest:
    chp = scope.settings.proxy.chp
    volumes = _volumes(scope, https)
    spec = {
        # It asks the hub and nobody else.
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        **pods.core_placement(scope, chp.node_selector, chp.tolerations),
        **present(
            topologySpreadConstraints=pods.spread(scope, "proxy") if replicas > 1 else None,
            imagePullSecrets=pods.pull_secrets(scope, scope.settings.perijove.image, chp.image),
        ),
        "containers": [_container(scope, https, volumes)],
        "volumes": volumes.volumes,
    }
    return {**spec, **volumes.renamed_pod(chp.extra_pod_spec)}


def _volumes(scope: Scope, https: HTTPS) -> Volumes:
    volumes = Volumes(scope)
    volumes.add_scratch("state", _STATE_DIR)
    volumes.add_scratch("tmp", "/tmp")  # noqa: S108 - a path in the pod
    if (found := https.certificate) is not None:
        source: Manifest = {"secretName": found.secret, **({"optional": True} if found.optional else {})}
        volumes.add("tls", {"secret": source}, (CERTIFICATES_DIR, {"readOnly": True}))
    return volumes


def _container(scope: Scope, https: HTTPS, volumes: Volumes) -> Manifest:
    chp = scope.settings.proxy.chp
    token = pods.from_secret(scope.names["hub"], AUTH_TOKEN)
    ports = [{"name": "http", "containerPort": HTTP_PORT}]
    if https.listens:
        ports.append({"name": "https", "containerPort": HTTPS_PORT})
    ports.append({"name": "metrics", "containerPort": METRICS_PORT})
    image = pods.own_image(scope)
    scheme = {"port": "https", "scheme": "HTTPS"} if https.listens else {"port": "http"}
    security: dict[str, Any] = {"readOnlyRootFilesystem": True, **chp.container_security_context}
    return {
        "name": "chp",
        **image,
        **present(imagePullPolicy=image.get("imagePullPolicy") or chp.image.pull_policy),
        "command": ["perijove"],
        "args": _arguments(scope, https),
        "env": pods.environment({"PYTHONUNBUFFERED": "1", "CONFIGPROXY_AUTH_TOKEN": token}, chp.extra_env),
        "ports": ports,
        **present(
            # Alive as soon as it answers; ready once it knows where to send people.
            livenessProbe=pods.probe(chp.liveness_probe, "/_chp_healthz", **scheme),
            readinessProbe=pods.probe(chp.readiness_probe, "/_perijove/healthz", **scheme),
            resources=chp.resources,
        ),
        # Endpoints forget a pod a moment after it is told to stop.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(STOP_DELAY_SECONDS)]}}},
        "securityContext": security if chp.container_security_context else {},
        "volumeMounts": volumes.mounts,
    }


def _arguments(scope: Scope, https: HTTPS) -> list[str]:
    hub_url = f"http://{scope.names['hub']}:{HUB_PORT}"
    listen = [f"--port={HTTP_PORT}"]
    if (found := https.certificate) is not None:
        listen = [
            f"--port={HTTPS_PORT}",
            f"--ssl-cert={CERTIFICATES_DIR}/{found.certificate}",
            f"--ssl-key={CERTIFICATES_DIR}/{found.private_key}",
            # Plain HTTP is for sending browsers to the public port of HTTPS.
            f"--redirect-port={HTTP_PORT}",
            "--redirect-to=443",
        ]
        if hsts := strict_transport_security(scope, https):
            listen.append(f"--hsts={hsts}")
        if https.fetched:
            # Let's Encrypt asks any of the proxies what it told the hub.
            listen.append(f"--acme-target={hub_url}")
    return [
        "proxy",
        "--ip=",
        *listen,
        f"--hub-url={hub_url}",
        f"--base-url={scope.base_url}",
        f"--table={_STATE_DIR}/routes.json",
        f"--metrics-port={METRICS_PORT}",
        f"--drain-timeout={_drain_seconds(scope)}",
        f"--log-format={scope.settings.perijove.log_format}",
        *(["--debug"] if scope.settings.debug.enabled else []),
    ]


def _drain_seconds(scope: Scope) -> int:
    """What is left for open requests and websockets, however long the pod is given."""
    given = scope.settings.proxy.chp.extra_pod_spec.get("terminationGracePeriodSeconds")
    grace = given if isinstance(given, int) else _GRACE_SECONDS
    return max(0, grace - STOP_DELAY_SECONDS - _SPARE_SECONDS)


def public_service(scope: Scope, https: HTTPS) -> Manifest:
    """The one object that must never be deleted: its address is in somebody's DNS."""
    section = scope.settings.proxy.service
    ports = []
    if https.port:
        target = "https" if https.listens else "http"
        ports.append({"name": "https", "port": 443, "targetPort": target, **present(nodePort=section.node_ports.https)})
    if not section.disable_http_port:
        ports.append({"name": "http", "port": 80, "targetPort": "http", **present(nodePort=section.node_ports.http)})
    ports += section.extra_ports
    if not ports:
        scope.problem(
            ("proxy", "service", "disableHttpPort"),
            "the public Service would have no port: HTTPS is off too",
            "switch on proxy.https, or leave disableHttpPort out",
        )
    elif section.node_ports.https is not None and not https.port:
        scope.note(("proxy", "service", "nodePorts", "https"), "HTTPS is off, so there is no port for it")
    metadata = scope.metadata(
        scope.names["proxy-public"], "proxy-public", labels=section.labels, annotations=section.annotations
    )
    spec = {
        "type": section.type,
        **present(
            loadBalancerIP=section.load_balancer_ip,
            loadBalancerSourceRanges=section.load_balancer_source_ranges,
            externalIPs=section.external_ips,
            ipFamilyPolicy=section.ip_family_policy,
            ipFamilies=section.ip_families,
        ),
        "selector": scope.selector("proxy"),
        "ports": ports,
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
