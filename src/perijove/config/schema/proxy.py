"""`proxy.*`: the way in from outside."""

from typing import Any, Literal

from perijove.config.schema.base import Environment, Labels, Mounts, Section, Volumes, key
from perijove.config.schema.pod import (
    UNPRIVILEGED,
    DeploymentStrategy,
    Image,
    PodDisruptionBudget,
    ProxyLivenessProbe,
    ProxyNetworkPolicy,
    ReadinessProbe,
    Scheduled,
    ServiceAccount,
    image_key,
)


class NodePorts(Section):
    http: int | None = key(None, "Port for HTTP on the nodes.")
    https: int | None = key(None, "Port for HTTPS on the nodes.")


class PublicService(Section):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = key("LoadBalancer", "Type of the service.")
    labels: Labels = key({}, "Labels of the service.")
    annotations: Labels = key({}, "Annotations of the service.")
    node_ports: NodePorts = key(NodePorts, "Fixed ports on the nodes.")
    disable_http_port: bool = key(False, "Whether to leave the port for plain HTTP out.")
    extra_ports: list[dict[str, Any]] = key([], "Further ports.")
    external_ips: list[str] = key([], "`externalIPs` of the service.", alias="externalIPs")
    load_balancer_ip: str | None = key(None, "Address of a LoadBalancer.", alias="loadBalancerIP")
    load_balancer_source_ranges: list[str] = key([], "Addresses that may connect.")
    ip_family_policy: str = key("PreferDualStack", "`ipFamilyPolicy` of the service.")
    ip_families: list[str] = key([], "`ipFamilies` of the service.")


class RoutingProxy(Scheduled):
    """The pods that route; in z2jh configurable-http-proxy, here our own proxy."""

    image: Image = image_key("quay.io/jupyterhub/configurable-http-proxy", "5.3.0", "Image of the proxy.")
    command: list[str] = key(["configurable-http-proxy"], "Command of the proxy.")
    extra_command_line_flags: list[str] = key([], "Further arguments of the proxy.")
    liveness_probe: ProxyLivenessProbe = key(ProxyLivenessProbe, "When to restart the proxy.")
    readiness_probe: ReadinessProbe = key(ReadinessProbe, "When the proxy is ready.")
    default_target: str | None = key(None, "Where requests without a route go.")
    error_target: str | None = key(None, "Where error pages come from.")
    extra_env: Environment = key({}, "Environment variables of the proxy.")
    network_policy: ProxyNetworkPolicy = key(ProxyNetworkPolicy, "Who may talk to the proxy.")
    pdb: PodDisruptionBudget = key(PodDisruptionBudget, "How many proxies may be down at once.")


class HSTS(Section):
    include_subdomains: bool = key(False, "Whether subdomains are included.")
    preload: bool = key(False, "Whether browsers may preload this.")
    max_age: int = key(15724800, "For how many seconds browsers insist on HTTPS.")


class Traefik(Scheduled):
    """The pod that fetches certificates and ends TLS for `https.type: letsencrypt`."""

    image: Image = image_key("traefik", "v3.7.8", "Image of traefik.")
    hsts: HSTS = key(HSTS, "Strict-Transport-Security.")
    labels: Labels = key({}, "Labels of the pod.")
    command: list[str] = key([], "Replaces the image's entrypoint.")
    args: list[str] = key([], "Replaces the command's arguments.")
    extra_init_containers: list[dict[str, Any]] = key([], "Further init containers.")
    extra_env: Environment = key({}, "Environment variables.")
    extra_volumes: Volumes = key([], "Further volumes.")
    extra_volume_mounts: Mounts = key([], "Where further volumes go.")
    extra_static_config: dict[str, Any] = key({}, "Merged into traefik's static configuration.")
    extra_dynamic_config: dict[str, Any] = key({}, "Merged into traefik's dynamic configuration.")
    extra_ports: list[dict[str, Any]] = key([], "Further ports.")
    network_policy: ProxyNetworkPolicy = key(ProxyNetworkPolicy, "Who may talk to traefik.")
    pdb: PodDisruptionBudget = key(PodDisruptionBudget, "How many pods may be down at once.")
    service_account: ServiceAccount = key(ServiceAccount, "Its account in the cluster.")


class SecretSync(Section):
    container_security_context: dict[str, Any] = key(UNPRIVILEGED, "Security context of the container.")
    image: Image = image_key("quay.io/jupyterhub/k8s-secret-sync", "", "Image of the helper.")
    resources: dict[str, Any] = key({}, "Requests and limits of CPU and memory.")


class LetsEncrypt(Section):
    contact_email: str | None = key(None, "Address that Let's Encrypt writes to.")
    acme_server: str | None = key("https://acme-v02.api.letsencrypt.org/directory", "Directory URL of the ACME server.")


class ManualCertificate(Section):
    private_key: str | None = key(None, "The private key, PEM.", alias="key")
    cert: str | None = key(None, "The certificate and its chain, PEM.")


class SecretCertificate(Section):
    name: str | None = key(None, "Name of the Secret.")
    private_key: str | None = key("tls.key", "Entry of the Secret with the private key.", alias="key")
    crt: str | None = key("tls.crt", "Entry of the Secret with the certificate.")


class HTTPS(Section):
    enabled: bool | None = key(False, "Whether the proxy speaks HTTPS.")
    type: Literal["", "letsencrypt", "manual", "offload", "secret"] | None = key(
        "letsencrypt",
        "`letsencrypt`: fetched by itself; `manual`: `manual.key` and `manual.cert`; `secret`: from a "
        "Secret; `offload`: something in front ends TLS.",
    )
    letsencrypt: LetsEncrypt = key(LetsEncrypt, "For `letsencrypt`.")
    manual: ManualCertificate = key(ManualCertificate, "For `manual`.")
    secret: SecretCertificate = key(SecretCertificate, "For `secret`.")
    hosts: list[str] = key([], "Names that the certificate is for.")


class Proxy(Section):
    """The way in from outside."""

    secret_token: str | None = key(None, "What hub and proxy know each other by; made and kept if not set.")
    replicas: int | None = key(None, "How many proxies run. Not known to z2jh.", ge=1, kubernetes=True)
    annotations: Labels = key({}, "Annotations of the pods.", kubernetes=True)
    labels: Labels = key({}, "Labels of the pods.", kubernetes=True)
    deployment_strategy: DeploymentStrategy = key(
        DeploymentStrategy, "How a new version replaces the old one.", kubernetes=True
    )
    service: PublicService = key(PublicService, "The service `proxy-public`, which users reach.", kubernetes=True)
    chp: RoutingProxy = key(RoutingProxy, "The pods that route.", kubernetes=True)
    traefik: Traefik = key(Traefik, "The pod that ends TLS for `letsencrypt`.", kubernetes=True)
    secret_sync: SecretSync = key(SecretSync, "Helper of that pod.", kubernetes=True)
    https: HTTPS = key(HTTPS, "HTTPS.")
