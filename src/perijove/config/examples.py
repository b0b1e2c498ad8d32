"""What somebody might write behind each key, for its row in the reference.

By the key's name, since a key of one name wants one kind of value wherever it stands; by its whole path where
that is not so. Numbers and switches show another value than the default. Each is tried against the schema.
"""

import re
from typing import Any, Final

_RULE: Final = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
_PEER: Final = {"ipBlock": {"cidr": "10.0.0.0/8"}}
_CONTAINER: Final = [{"name": "sidecar", "image": "busybox", "command": ["sleep", "infinity"]}]
_PORT: Final = {"name": "ssh", "port": 22, "targetPort": 22}
_TOLERATION: Final = [{"key": "gpu", "operator": "Exists"}]
_HOOK: Final = {"exec": {"command": ["gitpuller", "https://github.com/org/repo", "main", "work"]}}
_SCOPES: Final = ["admin:users", "admin:servers"]

_BY_PATH: Final[dict[str, Any]] = {
    "custom": {"colour": "red"},
    "global": {"safeToShowValues": False},
    "hub.config": {"JupyterHub": {"authenticator_class": "github"}, "Authenticator": {"admin_users": ["ana"]}},
    "hub.db.url": "postgresql://hub@db:5432/hub",
    "hub.db.password": "from-another-file",
    "hub.db.pvc.selector": {"matchLabels": {"disk": "fast"}},
    "hub.image.name": "quay.io/jupyterhub/k8s-hub",
    "httpProxy.tls.issuer.kind": "Issuer",
    "httpProxy.tls.issuer.name": "letsencrypt",
    "httpRoute.gateway.name": "public",
    "httpRoute.parentRefs": [{"name": "public", "namespace": "gateways"}],
    "imagePullSecrets": ["registry-login"],
    "proxy.https.manual.key": "-----BEGIN PRIVATE KEY-----…",
    "proxy.https.secret.key": "tls.key",
    "proxy.https.secret.name": "hub-certificate",
    "proxy.https.letsencrypt.acmeServer": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "proxy.service.type": "ClusterIP",
    "hub.service.type": "NodePort",
    "rbac.extraRules": _RULE,
    "scheduling.userScheduler.plugins": {"score": {"enabled": [{"name": "ImageLocality", "weight": 11}]}},
    "singleuser.cpu.limit": 2,
    "singleuser.cpu.guarantee": 0.5,
    "singleuser.image.name": "quay.io/jupyter/scipy-notebook",
    "singleuser.image.tag": "2025-01-01",
    "singleuser.memory.guarantee": "512M",
    "singleuser.networkPolicy.egress": [{"to": [_PEER]}],
    "singleuser.storage.static.subPath": "home/{username}",
}
_BY_NAME: Final[dict[str, Any]] = {
    "accessModes": ["ReadWriteOnce"],
    "allowedIngressPorts": [8888],
    "annotations": {"example.org/owner": "physics"},
    "appProtocol": "http",
    "args": ["--debug"],
    "baseUrl": "/jupyter",
    "capacity": "10Gi",
    "cert": "-----BEGIN CERTIFICATE-----…",
    "clusterRules": _RULE,
    "cmd": "start-singleuser.sh",
    "command": ["tini", "--"],
    "contactEmail": "admin@example.org",
    "containerSecurityContext": {"runAsUser": 1000},
    "cookieSecret": "openssl rand -hex 32",
    "crt": "tls.crt",
    "daemonsetAnnotations": {"example.org/owner": "physics"},
    "defaultTarget": "http://hub:8081",
    "defaultUrl": "/lab",
    "egress": [{"to": [_PEER]}],
    "email": "admin@example.org",
    "errorTarget": "http://hub:8081/hub/error",
    "existingSecret": "hub-secrets",
    "externalIPs": ["192.0.2.7"],
    "extraAnnotations": {"example.org/user": "{username}"},
    "extraCommandLineFlags": ["--log-level=debug"],
    "extraConfig": {"10-culling": "c.KubeSpawner.start_timeout = 600"},
    "extraConfigFiles": ["hooks.py"],
    "extraContainers": _CONTAINER,
    "extraDynamicConfig": {"http": {}},
    "extraEnv": {"COURSE": "physics"},
    "extraFiles": {"motd": {"mountPath": "/etc/motd", "stringData": "Welcome"}},
    "extraImages": {"postgres": {"name": "postgres", "tag": "17"}},
    "extraInitContainers": _CONTAINER,
    "extraLabels": {"team": "physics"},
    "extraPaths": [{"path": "/docs", "pathType": "Prefix", "backend": {"service": {"name": "docs"}}}],
    "extraPodConfig": {"shareProcessNamespace": True},
    "extraPodSpec": {"priorityClassName": "high"},
    "extraPorts": [_PORT],
    "extraStaticConfig": {"log": {}},
    "extraTolerations": _TOLERATION,
    "extraVolumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    "extraVolumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
    "fullnameOverride": "physics",
    "group": "cert-manager.io",
    "guarantees": {"nvidia.com/gpu": "1"},
    "homeMountPath": "/home/jovyan",
    "hostnames": ["hub.example.org"],
    "hosts": ["hub.example.org"],
    "imagePullSecrets": ["registry-login"],
    "ingress": [{"from": [_PEER]}],
    "ingressClassName": "nginx",
    "initContainers": [{"name": "prepare", "image": "busybox", "command": ["true"]}],
    "ip": "169.254.169.254",
    "ipFamilies": ["IPv4", "IPv6"],
    "ipFamilyPolicy": "PreferDualStack",
    "labels": {"team": "physics"},
    "limits": {"nvidia.com/gpu": "1"},
    "loadBalancerIP": "192.0.2.7",
    "loadBalancerPolicy": {"strategy": "Cookie"},
    "loadBalancerSourceRanges": ["192.0.2.0/24"],
    "loadRoles": {"staff": {"scopes": _SCOPES, "groups": ["staff"]}},
    "name": "registry.example.org/physics",
    "nameOverride": "physics",
    "namespace": "gateways",
    "nodeSelector": {"disk": "fast"},
    "password": "from-another-file",
    "pathSuffix": "*",
    "pluginConfig": [{"name": "NodeResourcesFit", "args": {}}],
    "podNameTemplate": "jupyter-{username}",
    "podSecurityContext": {"fsGroup": 1000},
    "postStart": _HOOK,
    "preStop": {"exec": {"command": ["sleep", "5"]}},
    "preferred": [{"weight": 1, "preference": {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}}],
    "profileList": [
        {"display_name": "GPU", "kubespawner_override": {"extra_resource_limits": {"nvidia.com/gpu": "1"}}}
    ],
    "pullPolicy": "Always",
    "pullSecrets": ["registry-login"],
    "pvcName": "homes",
    "pvcNameTemplate": "claim-{username}",
    "registry": "registry.example.org",
    "required": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}],
    "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}},
    "rollingUpdate": {"maxSurge": 1},
    "secretName": "hub-tls",
    "secretToken": "openssl rand -hex 32",
    "sectionName": "https",
    "serviceAccountName": "notebooks",
    "services": {"grades": {"url": "http://grades:8000", "apiToken": "from-another-file"}},
    "storage": "5Gi",
    "storageAccessModes": ["ReadWriteOnce"],
    "storageClass": "fast",
    "storageClassName": "fast",
    "subPath": "hub",
    "tag": "1.0",
    "templatePaths": ["/srv/templates"],
    "templateVars": {"announcement": "Closed on Friday"},
    "timeoutPolicy": {"response": "60s"},
    "timeouts": {"request": "60s"},
    "tls": [{"hosts": ["hub.example.org"], "secretName": "hub-tls"}],
    "tolerations": _TOLERATION,
    "type": "RollingUpdate",
    "username": "robot",
    "volumeNameTemplate": "volume-{username}",
}


def example(path: tuple[str, ...], default: Any, kind: str) -> Any:
    """`kind`: as the reference says it, with the words in backticks where a key takes only some."""
    found = _BY_PATH.get(".".join(path))
    if found is not None:
        return found
    if choices := re.findall("`([^`]+)`", kind):
        return next(choice for choice in choices if choice != default)
    if kind == "boolean":
        return not default
    return _BY_NAME.get(path[-1], 3)
