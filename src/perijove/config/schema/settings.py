"""The whole key tree of config.yaml: z2jh's, and the few keys that are ours.

The defaults are z2jh's. What comes out is frozen; where a key has several shapes, there is one here.
"""

from typing import Any, Literal

from pydantic import field_validator

from perijove.config.schema.base import Labels, Secrets, Section, key
from perijove.config.schema.hub import Hub
from perijove.config.schema.pod import Image, image_key
from perijove.config.schema.proxy import Proxy
from perijove.config.schema.scheduling import PrePuller, Scheduling
from perijove.config.schema.singleuser import SingleUser


class ImagePullSecret(Section):
    create: bool = key(False, "Whether to make a Secret for pulling images.")
    automatic_reference_injection: bool = key(True, "Whether all pods use it.")
    registry: str | None = key(None, "The registry.")
    username: str | None = key(None, "User name at the registry.")
    password: str | None = key(None, "Password at the registry.")
    email: str | None = key(None, "E-mail address at the registry.")


class RBAC(Section):
    create: bool = key(True, "Whether to make roles and bindings.")
    enabled: bool | None = key(None, "Old spelling of `create`.")
    extra_rules: list[dict[str, Any]] = key([], "Further rules for the hub in its namespace. Not known to z2jh.")
    cluster_rules: list[dict[str, Any]] = key([], "Rules for the hub in the whole cluster. Not known to z2jh.")


class Ingress(Section):
    enabled: bool = key(False, "Whether to make an Ingress.")
    annotations: Labels = key({}, "Annotations of the Ingress.")
    ingress_class_name: str | None = key(None, "Class of the Ingress.")
    hosts: list[str] = key([], "Host names.")
    path_suffix: str | None = key(None, "Added to the path.")
    path_type: Literal["Prefix", "Exact", "ImplementationSpecific"] = key("Prefix", "Type of the path.")
    tls: list[dict[str, Any]] = key([], "TLS settings.")
    extra_paths: list[dict[str, Any]] = key([], "Further paths.")

    @field_validator("hosts", mode="before")
    @classmethod
    def _any_host(cls, hosts: Any) -> Any:
        """The chart made a rule without a host of a null; what `- ` and nothing behind it is."""
        return ["" if host is None else host for host in hosts] if isinstance(hosts, list) else hosts


class Gateway(Section):
    name: str = key(..., "Name of the Gateway.")
    namespace: str | None = key(None, "Its namespace.")
    section_name: str | None = key(None, "Its listener.")


class HTTPRoute(Section):
    enabled: bool = key(False, "Whether to make an HTTPRoute.")
    annotations: Labels = key({}, "Annotations of the HTTPRoute.")
    hostnames: list[str] = key([], "Host names.")
    gateway: Gateway | None = key(None, "The Gateway.")
    parent_refs: list[dict[str, Any]] = key([], "The Gateways, as Kubernetes has them.")
    timeouts: Labels = key({}, "`request` and `backendRequest`, as in `0s`. Not known to z2jh.")


class Issuer(Section):
    name: str = key(..., "Name of the issuer.")
    kind: Literal["Issuer", "ClusterIssuer"] = key("ClusterIssuer", "Its kind.")
    group: str = key("cert-manager.io", "Its API group.")


class HTTPProxyTLS(Section):
    secret_name: str | None = key(None, "The Secret with the certificate; `namespace/name` if delegated.")
    issuer: Issuer | None = key(None, "cert-manager's issuer; with it a Certificate is made.")
    passthrough: bool = key(False, "Whether TLS goes through to the proxy, for `proxy.https`.")


class HTTPProxy(Section):
    """Contour's way in; without it Contour cuts websockets and long answers."""

    enabled: bool = key(False, "Whether to make an HTTPProxy for each host. Not known to z2jh.")
    hosts: list[str] = key([], "Host names; each gets an HTTPProxy of its own. Not known to z2jh.")
    annotations: Labels = key({}, "Annotations of the HTTPProxies. Not known to z2jh.")
    ingress_class_name: str | None = key(None, "Class of the Contour that serves them. Not known to z2jh.")
    tls: HTTPProxyTLS = key(HTTPProxyTLS, "The certificate. Not known to z2jh.")
    timeout_policy: Labels = key(
        {"response": "infinity", "idle": "1h"}, "`timeoutPolicy` of the route. Not known to z2jh."
    )
    load_balancer_policy: Labels = key({}, "`loadBalancerPolicy` of the route. Not known to z2jh.")


class Cull(Section):
    """Stopping servers that nobody uses."""

    enabled: bool = key(True, "Whether idle servers are stopped.")
    users: bool | None = key(False, "Whether idle users are deleted too.")
    admin_users: bool | None = key(True, "Whether that goes for admins too.")
    remove_named_servers: bool | None = key(False, "Whether stopped named servers are deleted.")
    timeout: int | None = key(3600, "Seconds without activity.")
    every: int | None = key(600, "Seconds between looks.")
    concurrency: int | None = key(10, "How many are stopped at once.")
    max_age: int | None = key(0, "Seconds after which a server is stopped however busy; 0: never.")


class Debug(Section):
    enabled: bool = key(False, "Whether hub and servers log everything.")


class Perijove(Section):
    """What only Perijove has."""

    image: Image = image_key("", "", "The one image of hub and proxy, instead of the released one. Not known to z2jh.")
    log_format: Literal["console", "json"] = key("console", "Logs for a person or a collector. Not known to z2jh.")


class Settings(Section):
    """The whole file."""

    fullname_override: str | None = key("", "Prefix of all resources' names.", kubernetes=True)
    name_override: str | None = key(None, "Part of resources' names.", kubernetes=True)
    enabled: bool | None = key(None, "For charts that contain this one.", kubernetes=True)
    custom: dict[str, Any] = key({}, "Anything, for `z2jh.get_config` in Python code.")
    image_pull_secret: ImagePullSecret = key(ImagePullSecret, "A Secret to make, for pulling images.", kubernetes=True)
    image_pull_secrets: Secrets = key([], "Existing Secrets, for pulling images.", kubernetes=True)
    hub: Hub = key(Hub, "The hub.")
    rbac: RBAC = key(RBAC, "Permissions in the cluster.", kubernetes=True)
    proxy: Proxy = key(Proxy, "The way in from outside.")
    singleuser: SingleUser = key(SingleUser, "The servers of users.")
    scheduling: Scheduling = key(Scheduling, "Which node a pod lands on.", kubernetes=True)
    pre_puller: PrePuller = key(PrePuller, "Images on nodes before users need them.", kubernetes=True)
    ingress: Ingress = key(Ingress, "An Ingress.", kubernetes=True)
    http_route: HTTPRoute = key(HTTPRoute, "An HTTPRoute.", kubernetes=True)
    http_proxy: HTTPProxy = key(HTTPProxy, "Contour's HTTPProxy. Not known to z2jh.", kubernetes=True)
    perijove: Perijove = key(Perijove, "What only Perijove has.", kubernetes=True)
    cull: Cull = key(Cull, "Stopping servers that nobody uses.")
    debug: Debug = key(Debug, "Finding faults.")
    global_: dict[str, Any] = key(
        {"safeToShowValues": False}, "Helm's values for all charts.", alias="global", kubernetes=True
    )
