"""Where browsers find the hub, its users' servers and its services: on one host, or each user on a host of their own.

With `subdomain_host` pages of one user's server are of another origin than those of everybody else's and of the
hub, so that scripts in them can read neither. Host names are JupyterHub's to the letter, because people keep links.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import quote, unquote, urlsplit

import idna

from perijove.domain.errors import Invalid
from perijove.domain.names import escape, server_prefix

Kind = Literal["user", "service"]
Hook = Callable[..., str]

_LABEL: Final = re.compile(r"[a-zA-Z0-9-]{1,63}")
_HOST: Final = re.compile(r"[a-zA-Z0-9_.-]{1,253}")
_PLAIN: Final = frozenset(string.ascii_letters + string.digits + "-.%")
_STUB: Final = frozenset(string.ascii_lowercase + string.digits)
_STUB_LENGTH: Final = 8
_HASH_LENGTH: Final = 7


def idna_hook(name: str, domain: str, kind: Kind) -> str:
    """JupyterHub's default: the name where it is a label of DNS, else as IDNA has it, else a hash of it."""
    return f"{_label(name)}{'' if kind == 'user' else f'--{kind}'}.{domain}"


def legacy_hook(name: str, domain: str, kind: Kind) -> str:
    """JupyterHub's before 5.0: `_40` for `@`, and one host for all services."""
    return f"{_quoted(name)}.{domain}" if kind == "user" else f"services.{domain}"


def _label(name: str) -> str:
    # Whatever was encoded has two dashes, so a name with two of its own could be taken for somebody else's.
    if "--" in name:
        return _hashed(name)
    if _is_label(name):
        return name
    try:
        encoded = idna.encode(name).decode("ascii")
    except ValueError:
        return _hashed(name)
    return encoded if encoded != name and _is_label(encoded) else _hashed(name)


def _is_label(text: str) -> bool:
    return not text.isnumeric() and text.strip("-") == text and _LABEL.fullmatch(text) is not None


def _hashed(name: str) -> str:
    stub = "".join(character for character in name.lower() if character in _STUB)[:_STUB_LENGTH] or "x"
    return f"u-{stub}--{sha256(name.encode()).hexdigest()[:_HASH_LENGTH]}"


def _quoted(name: str) -> str:
    quoted = quote(name, safe="").lower()
    return "".join(char if char in _PLAIN else f"%{ord(char):x}" for char in quoted).replace("%", "_")


@dataclass(frozen=True)
class Addresses:
    """URLs of everything, as a hub with these settings has them."""

    base_url: str = "/"
    # scheme://host[:port]/base/ or "".
    public_url: str = ""
    # scheme://host[:port] or "": no host names for users.
    subdomain_host: str = ""
    hook: Hook = idna_hook

    # -- the hub

    @cached_property
    def hub_origin(self) -> str:
        """`scheme://host[:port]`; "" when nobody said, and browsers are led by paths alone."""
        return _origin(self.public_url or self.subdomain_host)

    @cached_property
    def domain(self) -> str:
        """The hub's host name where users have theirs below it; else ""."""
        return (urlsplit(self.hub_origin).hostname or "") if self.subdomain_host else ""

    def hub(self, path: str) -> str:
        """`path` on the hub's host, for those who may be on another."""
        return f"{self.hub_origin}{path}" if self.domain else path

    def is_elsewhere(self, host: str) -> bool:
        """Whether a request's `Host` is below the hub's own: a user's or a service's."""
        return bool(self.domain) and hostname(host).endswith(f".{self.domain}")

    # -- servers and services

    def user_host(self, user: str) -> str:
        """`scheme://host[:port]` of a user's servers; "" on the hub's own host."""
        return self._host(user, "user")

    def service_host(self, service: str) -> str:
        return self._host(service, "service")

    def server_url(self, user: str, server: str = "") -> str:
        """A path, or with hosts of users the whole URL: what links and redirects to it say."""
        return f"{self.user_host(user)}{server_prefix(self.base_url, user, server)}"

    def public_server_url(self, user: str, server: str = "") -> str:
        """The whole URL; "" when the hub does not know its own."""
        url = self.server_url(user, server)
        return url if self.domain else self.hub_origin and f"{self.hub_origin}{url}"

    def service_path(self, service: str) -> str:
        return f"{self.base_url}services/{escape(service)}/"

    def service_url(self, service: str) -> str:
        return f"{self.service_host(service)}{self.service_path(service)}"

    def public_service_url(self, service: str) -> str:
        url = self.service_url(service)
        return url if self.domain else self.hub_origin and f"{self.hub_origin}{url}"

    # -- routes, as proxies have them: `host/path/` or `/path/`

    def server_route(self, user: str, server: str = "") -> str:
        return _route(self.server_url(user, server))

    def service_route(self, service: str) -> str:
        return _route(self.service_url(service))

    # -- of what only the path is known

    def located(self, url: str) -> str:
        """A path to a server or a service with its host before it; anything else as it is.

        What `next` says is reduced to a path, and so are links that were made before hosts were per user.
        """
        if not self.domain:
            return url
        for start, host in (
            (f"{self.base_url}user/", self.user_host),
            (f"{self.base_url}services/", self.service_host),
        ):
            if url.startswith(start):
                name = re.split(r"[/?#]", url.removeprefix(start), maxsplit=1)[0]
                return f"{host(unquote(name))}{url}" if name else url
        return url

    def _host(self, name: str, kind: Kind) -> str:
        if not self.domain:
            return ""
        domain = self.hook(name, self.domain, kind=kind)
        if not isinstance(domain, str) or not _HOST.fullmatch(domain):
            raise Invalid(f"JupyterHub.subdomain_hook gave no host name for the {kind} {name!r}.")
        parts = urlsplit(self.subdomain_host)
        return f"{parts.scheme}://{domain}:{parts.port}" if parts.port else f"{parts.scheme}://{domain}"


def hostname(host: str) -> str:
    """A `Host` header without its port, as it compares."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower().rstrip(".")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _route(url: str) -> str:
    return url.partition("://")[2] if "://" in url else url
