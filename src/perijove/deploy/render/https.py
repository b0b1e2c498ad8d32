"""How browsers' TLS ends: in our proxies, with a certificate from the file, from a Secret or fetched.

z2jh ran traefik in a pod `autohttps` for Let's Encrypt, one certificate in one pod. Here every proxy
mounts one Secret, under the name it has there; the hub, which has a database to agree in, fetches and
renews. So no pod that faces the internet holds rights in the cluster.
"""

from dataclasses import dataclass
from typing import Final

from perijove.deploy.render import hub_values, rbac
from perijove.deploy.render.scope import Manifest, Scope

CERTIFICATES_DIR: Final = "/etc/perijove/tls"
_PATH: Final = ("proxy", "https")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The Secret that proxies read their certificate from; with `optional` it may come later."""

    secret: str
    certificate: str = "tls.crt"
    private_key: str = "tls.key"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class HTTPS:
    """`listens`: proxies speak TLS. `port`: the public Service has a port 443. `fetched`: by Let's Encrypt."""

    certificate: Certificate | None = None
    port: bool = False
    fetched: bool = False

    @property
    def listens(self) -> bool:
        return self.certificate is not None


def read(scope: Scope) -> HTTPS:
    """What `proxy.https` amounts to; says what is missing."""
    https = scope.settings.proxy.https
    if not https.enabled:
        wanted = https.hosts or https.letsencrypt.contact_email
        if wanted and not scope.is_given(*_PATH, "enabled"):
            text = "HTTPS is off: `proxy.https.enabled` is not true"
            scope.note(_PATH, text)
        return HTTPS()
    match https.type:
        case "manual":
            return _manual(scope)
        case "secret":
            return _secret(scope)
        case "offload":
            return HTTPS(port=True)
    return _letsencrypt(scope)


def _manual(scope: Scope) -> HTTPS:
    manual = scope.settings.proxy.https.manual
    for name, text in (("key", manual.private_key), ("cert", manual.cert)):
        if not text:
            message = f"proxy.https.type is manual, but there is no proxy.https.manual.{name}"
            scope.problem((*_PATH, "manual", name), message, f"add the PEM text as `{name}: |`")
    return HTTPS(Certificate(scope.names["proxy-public-manual-tls"]), port=True)


def _secret(scope: Scope) -> HTTPS:
    secret = scope.settings.proxy.https.secret
    if not secret.name:
        message = "proxy.https.type is secret, but there is no proxy.https.secret.name"
        scope.problem((*_PATH, "secret", "name"), message, "add the name of a Secret with tls.crt and tls.key")
        return HTTPS()
    return HTTPS(Certificate(secret.name, secret.crt or "tls.crt", secret.private_key or "tls.key"), port=True)


def _letsencrypt(scope: Scope) -> HTTPS:
    if not rbac.uses_letsencrypt(scope):
        scope.note(_PATH, "HTTPS is off: `letsencrypt` needs `proxy.https.hosts`, the names to ask certificates for")
        return HTTPS()
    text = (
        f"needs a certificate in Secret {scope.names['proxy-public-tls']} (tls.crt, tls.key), which nothing fetches yet"
    )
    scope.note((*_PATH, "type"), text)
    if not scope.settings.proxy.https.letsencrypt.contact_email:
        scope.note((*_PATH, "letsencrypt"), "has no contactEmail: nobody hears of a certificate about to expire")
    return HTTPS(Certificate(scope.names["proxy-public-tls"], optional=True), port=True, fetched=True)


def strict_transport_security(scope: Scope, https: HTTPS) -> str:
    """As z2jh has it: with Let's Encrypt always, otherwise where somebody sets it."""
    if not https.fetched and not (https.listens and scope.is_given("proxy", "traefik", "hsts")):
        return ""
    hsts = scope.settings.proxy.traefik.hsts
    parts = [f"max-age={hsts.max_age}", "includeSubDomains" * hsts.include_subdomains, "preload" * hsts.preload]
    return "; ".join(filter(None, parts))


def manifests(scope: Scope, https: HTTPS) -> list[Manifest]:
    """The Secret with the certificate, where it is ours to make."""
    section = scope.settings.proxy.https
    if https.certificate is None or section.type == "secret":
        return []
    entries: dict[str, bytes] = {}
    if section.type == "manual":
        pem = {"tls.crt": section.manual.cert, "tls.key": section.manual.private_key}
        entries = {name: text.encode() for name, text in pem.items() if text}
    secret = hub_values.opaque(scope, https.certificate.secret, "proxy", entries)
    if not entries:
        # Made so that whoever fills it needs no right to make Secrets; applying it leaves its entries alone.
        del secret["data"]
    return [secret]
