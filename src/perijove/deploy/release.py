"""What a rendering is told besides the configuration: which release, and the secrets it already has.

Both come from the cluster when there is one (the labels of the Deployment `hub`, the Secret `hub`);
rendering itself never asks it.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, Self

IMAGE_NAME: Final = "quay.io/perijove/perijove"
COOKIE_SECRET: Final = "hub.config.JupyterHub.cookie_secret"  # noqa: S105 - an entry's name
AUTH_TOKEN: Final = "hub.config.ConfigurableHTTPProxy.auth_token"  # noqa: S105 - an entry's name
CRYPT_KEYS: Final = "hub.config.CryptKeeper.keys"
PULLED_IMAGES: Final = "checksum_hook-image-puller"

# Entries of the Secret as charts before 1.0 called them (in `hub-secret`).
_OLD_NAMES: Final = {
    COOKIE_SECRET: ("JupyterHub.cookie_secret", "hub.cookie-secret"),
    AUTH_TOKEN: ("JupyterHub.proxy_auth_token", "proxy.token"),
    CRYPT_KEYS: ("CryptKeeper.keys", "auth.state.crypto-key"),
}
_RELEASE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,51}[a-z0-9])?")


def default_image() -> str:
    """The image that was released with this code."""
    return f"{IMAGE_NAME}:{version('perijove')}"


@dataclass(frozen=True, kw_only=True)
class Release:
    """One installation. Its name is part of selectors, which can never change."""

    namespace: str
    name: str = "jhub"
    image: str = field(default_factory=default_image)
    # What the image puller that ran last had pulled: `checksum_hook-image-puller` of ConfigMap `hub`.
    pulled_images: str = ""

    def __post_init__(self) -> None:
        for what, value in (("release name", self.name), ("namespace", self.namespace)):
            if not _RELEASE_NAME.fullmatch(value):
                raise ValueError(f"`{value}` is no {what}: lower case letters, digits and `-`")


def release_name_of(manifest: Mapping[str, Any]) -> str | None:
    """The release that an existing object (the Deployment `hub`) belongs to, by z2jh's labels."""
    labels = manifest.get("metadata", {}).get("labels") or {}
    return labels.get("release") or labels.get("app.kubernetes.io/instance")


@dataclass(frozen=True, kw_only=True)
class GeneratedSecrets:
    """Made at the first installation and kept ever after; the configuration may override each."""

    # 64 hex digits or more: 32 bytes that sign cookies.
    cookie_secret: str = field(repr=False)
    # What hub and proxies know each other by.
    auth_token: str = field(repr=False)
    # Keys that encrypt users' authentication state, divided by `;`; the first encrypts.
    crypt_keys: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        return cls(
            cookie_secret=secrets.token_hex(32), auth_token=secrets.token_hex(32), crypt_keys=secrets.token_hex(32)
        )

    @classmethod
    def kept(cls, secret: Mapping[str, Any] | None) -> Self:
        """What an existing Secret `hub` holds, as the API returns it; what it lacks is made."""
        data = (secret or {}).get("data") or {}
        new = cls.generate()
        return cls(
            cookie_secret=_cookie_secret(_entry(data, COOKIE_SECRET)) or new.cookie_secret,
            auth_token=_entry(data, AUTH_TOKEN) or new.auth_token,
            crypt_keys=_entry(data, CRYPT_KEYS) or new.crypt_keys,
        )


def _cookie_secret(text: str) -> str:
    # Some releases held other text, which cannot sign here; new cookies cost a login each.
    return text if re.fullmatch(r"([0-9a-fA-F]{2}){32,}", text) else ""


def _entry(data: Mapping[str, str], name: str) -> str:
    for key in (name, *_OLD_NAMES[name]):
        if encoded := data.get(key):
            try:
                return base64.b64decode(encoded, validate=True).decode().strip()
            except (binascii.Error, UnicodeDecodeError) as exc:
                raise ValueError(f"entry {key} of the Secret is not base64 text") from exc
    return ""
