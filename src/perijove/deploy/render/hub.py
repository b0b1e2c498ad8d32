"""The hub's Deployment, claim, Service and PodDisruptionBudget.

Names of the container and its volumes are z2jh's: an object that it made is changed in place, and what
is found under the same name is replaced, not added to.
"""

import re
from typing import Any, Final

from perijove.deploy.release import AUTH_TOKEN, COOKIE_SECRET, CRYPT_KEYS
from perijove.deploy.render import database, hub_values, pods
from perijove.deploy.render.scope import CONFIG_HASH, HUB_PORT, Manifest, Scope, present
from perijove.deploy.render.volumes import Volumes

DATA_DIR: Final = "/srv/jupyterhub"
VALUES_DIR: Final = "/etc/perijove"
# Where z2jh mounts the same, for code that reads it there.
_Z2JH_DIR: Final = "/usr/local/etc/jupyterhub"
_EXISTING_SECRET_DIR: Final = f"{_Z2JH_DIR}/existing-secret"

# Endpoints forget a pod a moment after it is told to stop.
STOP_DELAY_SECONDS: Final = 5
# z2jh's 1000 would keep sending people to a replica that does not answer while another one would.
_NOT_READY_AFTER: Final = 3
# `jupyterhub --config …` inside a shell command.
_JUPYTERHUB: Final = re.compile(r"(?<![\w./-])jupyterhub\s+(?:--config|-f)(?:=|\s+)\S+(?:\s+--upgrade-db)?")


def manifests(scope: Scope, secret: Manifest) -> list[Manifest]:
    replicas = database.replicas(scope)
    found = [deployment(scope, secret, replicas), service(scope)]
    if database.uses_claim(scope.settings):
        found.append(claim(scope))
    budget = scope.settings.hub.pdb
    # One replica with a budget would keep its node from ever being drained.
    if budget.enabled or (replicas > 1 and not scope.is_given("hub", "pdb", "enabled")):
        found.append(pods.disruption_budget(scope, scope.names["hub"], "hub", budget, ("hub", "pdb")))
    return found


def deployment(scope: Scope, secret: Manifest, replicas: int) -> Manifest:
    hub = scope.settings.hub
    access = ("network-access-proxy-api", "network-access-proxy-http", "network-access-singleuser")
    labels = {**scope.pod_labels("hub"), **{f"hub.jupyter.org/{name}": "true" for name in access}, **hub.labels}
    annotations = {CONFIG_HASH: hub_values.config_hash(secret), **hub.annotations}
    spec = {
        "replicas": replicas,
        **present(revisionHistoryLimit=hub.revision_history_limit),
        "selector": {"matchLabels": scope.selector("hub")},
        "strategy": pods.strategy(hub.deployment_strategy, database.strategy_type(scope)),
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": _pod(scope, replicas)},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": scope.metadata(scope.names["hub"], "hub"),
        "spec": spec,
    }


def _pod(scope: Scope, replicas: int) -> Manifest:
    hub = scope.settings.hub
    volumes = _volumes(scope)
    own_image = scope.settings.perijove.image
    spec = {
        **pods.account(scope, "hub-serviceaccount"),
        **pods.core_placement(scope, hub.node_selector, hub.tolerations),
        **present(
            topologySpreadConstraints=pods.spread(scope, "hub") if replicas > 1 else None,
            securityContext=hub.pod_security_context,
            imagePullSecrets=pods.pull_secrets(scope, own_image, hub.image),
            initContainers=volumes.renamed(hub.init_containers),
        ),
        "containers": [_container(scope, volumes, replicas), *volumes.renamed(hub.extra_containers)],
        "volumes": volumes.volumes,
    }
    return {**spec, **volumes.renamed_pod(hub.extra_pod_spec)}


def _volumes(scope: Scope) -> Volumes:
    hub, names = scope.settings.hub, scope.names
    volumes = Volumes(scope)
    volumes.add("config", {"configMap": {"name": names["hub"]}}, (f"{_Z2JH_DIR}/config/", {}))
    both: tuple[tuple[str, Manifest], ...] = ((VALUES_DIR, {"readOnly": True}), (f"{_Z2JH_DIR}/secret/", {}))
    volumes.add("secret", {"secret": {"secretName": names["hub"]}}, *both)
    if database.uses_claim(scope.settings):
        mount = (DATA_DIR, present(subPath=hub.db.pvc.sub_path))
        volumes.add("pvc", {"persistentVolumeClaim": {"claimName": names["hub-pvc"]}}, mount)
    else:
        volumes.add_scratch("perijove-data", DATA_DIR)
    volumes.add_scratch("perijove-tmp", "/tmp")  # noqa: S108 - a path in the pod
    if hub.existing_secret:
        source = {"secret": {"secretName": hub.existing_secret}}
        volumes.add("existing-secret", source, (_EXISTING_SECRET_DIR, {"readOnly": True}))
    volumes.add_files("files", names["hub"], hub.extra_files)
    volumes.add_extra(hub.extra_volumes, hub.extra_volume_mounts, ("hub",))
    return volumes


def _container(scope: Scope, volumes: Volumes, replicas: int) -> Manifest:
    hub = scope.settings.hub
    health = f"{scope.base_url}hub/health"
    instead: dict[str, Any] = {}
    if replicas > 1 and not scope.is_given("hub", "readinessProbe", "failureThreshold"):
        instead["failureThreshold"] = _NOT_READY_AFTER
    lifecycle = {name: hook for name, hook in hub.lifecycle.model_dump().items() if hook}
    if replicas > 1:
        lifecycle.setdefault("preStop", {"exec": {"command": ["sleep", str(STOP_DELAY_SECONDS)]}})
    image = pods.own_image(scope)
    return {
        "name": "hub",
        **image,
        **present(imagePullPolicy=image.get("imagePullPolicy") or hub.image.pull_policy),
        **_command(scope),
        "env": pods.environment(_environment(scope), hub.extra_env),
        "ports": [{"name": "http", "containerPort": HUB_PORT}],
        **present(
            livenessProbe=pods.probe(hub.liveness_probe, health, "http"),
            readinessProbe=pods.probe(hub.readiness_probe, health, "http", **instead),
            lifecycle=lifecycle,
            resources=hub.resources,
            securityContext=_security(scope),
        ),
        "volumeMounts": volumes.mounts,
    }


def _security(scope: Scope) -> Manifest:
    hub = scope.settings.hub
    # Somebody's own command may install packages first, as one of z2jh's guides has it.
    read_only = {} if hub.command or hub.args else {"readOnlyRootFilesystem": True}
    return {**read_only, **hub.container_security_context} if hub.container_security_context else {}


def _environment(scope: Scope) -> dict[str, Any]:
    secret = scope.names["hub"]
    return {
        "PYTHONUNBUFFERED": "1",
        "HELM_RELEASE_NAME": scope.release.name,
        "POD_NAMESPACE": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        "CONFIGPROXY_AUTH_TOKEN": pods.from_secret(secret, AUTH_TOKEN),
        "JPY_COOKIE_SECRET": pods.from_secret(secret, COOKIE_SECRET),
        "JUPYTERHUB_CRYPT_KEY": pods.from_secret(secret, CRYPT_KEYS),
    }


def _arguments(scope: Scope) -> list[str]:
    hub = scope.settings.hub
    return [
        "perijove",
        "hub",
        f"--file={VALUES_DIR}/values.yaml",
        *([f"--file={_EXISTING_SECRET_DIR}"] if hub.existing_secret else []),
        f"--data-dir={DATA_DIR}",
        "--hub-ip=*",
        f"--hub-port={HUB_PORT}",
        "--target=kubernetes",
        f"--log-format={scope.settings.perijove.log_format}",
    ]


def _command(scope: Scope) -> Manifest:
    """What to run: arguments of the image's entrypoint, or what the configuration puts in its place."""
    hub = scope.settings.hub
    own = _arguments(scope)
    if not hub.args:
        return {**present(command=hub.command), "args": own}
    if hub.args[0] == "jupyterhub":
        scope.note(("hub", "args"), f"starts `{own[0]} {own[1]}` in place of `jupyterhub`, with arguments of its own")
        return {**present(command=hub.command), "args": own}
    line = " ".join(own)
    args = [_JUPYTERHUB.sub(lambda _: line, text) for text in hub.args]
    if args != hub.args:
        scope.note(("hub", "args"), "`jupyterhub --config …` in it starts `perijove hub` instead")
    elif not any("perijove" in text for text in (*hub.command, *args)):
        scope.note(("hub", "args"), "replaces the whole command; make sure that it ends in `perijove hub …`")
    return {**present(command=hub.command), "args": args}


def service(scope: Scope) -> Manifest:
    section = scope.settings.hub.service
    scrape = {
        "prometheus.io/scrape": "true",
        "prometheus.io/path": f"{scope.base_url}hub/metrics",
        "prometheus.io/port": str(HUB_PORT),
    }
    port = {
        "name": "hub",
        "port": HUB_PORT,
        "targetPort": "http",
        **present(nodePort=section.ports.node_port, appProtocol=section.ports.app_protocol),
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": scope.metadata(scope.names["hub"], "hub", annotations={**scrape, **section.annotations}),
        "spec": {
            "type": section.type,
            **present(
                loadBalancerIP=section.load_balancer_ip,
                ipFamilyPolicy=section.ip_family_policy,
                ipFamilies=section.ip_families,
            ),
            "selector": scope.selector("hub"),
            "ports": [port, *section.extra_ports],
        },
    }


def claim(scope: Scope) -> Manifest:
    """The volume of the database. What Kubernetes lets nobody change afterwards is as z2jh has it."""
    section = scope.settings.hub.db.pvc
    spec: Manifest = {
        "accessModes": [mode for mode in section.access_modes if mode],
        "resources": {"requests": {"storage": section.storage}},
        **present(selector=section.selector),
    }
    # "" means something: a volume that was made by hand.
    if section.storage_class_name is not None:
        spec["storageClassName"] = section.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": scope.metadata(scope.names["hub-pvc"], "hub", annotations=section.annotations),
        "spec": spec,
    }
