"""Names in URLs: which are allowed, how they are escaped, and what is built from them.

Single-user servers and browsers hold on to these strings, so they are JupyterHub's to the letter:
`@` and `~` stay as they are in paths, `urllib.parse.quote`'s default applies in OAuth client ids.
"""

import re
import unicodedata
from urllib.parse import quote, unquote

from perijove.domain.errors import Invalid

MAX_USER_NAME = 255
# As a path segment, where a byte beyond ASCII takes three characters: 127 of Cyrillic, 85 of Chinese, 63 emoji.
# A login that leads back to a server carries its path twice, escaped three times, in one URL; every proxy and
# browser on the way takes 8 KiB, and cookies of paths above 1 KiB are for other paths than they say.
MAX_ESCAPED_USER_NAME = 3 * MAX_USER_NAME
# Named servers: fit a DNS label together with other parts, no surprises in URLs.
_SERVER_NAME = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
MAX_SERVER_NAME = 30
MAX_DISPLAY_NAME = 255
# Controls, halves of surrogate pairs, and the separators of lines and paragraphs.
_NOT_IN_NAMES = frozenset({"Cc", "Cs", "Zl", "Zp"})


def escape(name: str) -> str:
    """As one path segment: a slash becomes %2F, `@` and `~` stay."""
    return quote(name, safe="@~")


def server_prefix(base_url: str, user: str, server: str = "") -> str:
    """`/user/alice/` or `/user/alice/gpu/` below the base URL; what the server mounts at and is routed by."""
    prefix = f"{base_url}user/{escape(user)}/"
    return f"{prefix}{escape(server)}/" if server else prefix


def client_id(user: str, server: str = "") -> str:
    """OAuth client id of a server, which is also the name of its cookie."""
    name = f"jupyterhub-user-{quote(user)}"
    return f"{name}-{quote(server)}" if server else name


def full_name(user: str, server: str = "") -> str:
    """As scopes write it: `alice/` is the default server; the slash is part of the name."""
    return f"{user}/{server}"


def check_user_name(name: str) -> None:
    """The rules that hold whatever the authenticator allows. Raises `Invalid` with the rule broken."""
    if not name:
        raise Invalid("A user name must not be empty.", field="name")
    if len(name) > MAX_USER_NAME:
        raise Invalid(f"A user name has at most {MAX_USER_NAME} characters.", field="name")
    if "/" in name:
        raise Invalid(f"A user name must not contain a slash: {name!r}.", field="name")
    if name != name.strip():
        raise Invalid(f"A user name must not begin or end with a space: {name!r}.", field="name")
    if not name.strip(".") or not unquote(name).strip("."):
        raise Invalid(f"A user name must not consist of dots alone: {name!r}.", field="name")
    if any(unicodedata.category(character) in _NOT_IN_NAMES for character in name):
        raise Invalid("A user name must not contain control characters or line breaks.", field="name")
    if len(escaped := escape(name)) > MAX_ESCAPED_USER_NAME:
        raise Invalid(
            f"A user name has at most {MAX_ESCAPED_USER_NAME} characters in a URL, where letters beyond a to z take "
            f"three to twelve; this one has {len(escaped)}.",
            field="name",
        )


def check_service_name(name: str) -> None:
    """Raises `Invalid` unless a service may be called so: its name is a segment of its address."""
    if not 0 < len(name) <= MAX_USER_NAME or not name.isprintable() or name != name.strip() or "/" in name:
        raise Invalid(
            f"A service name has 1 to {MAX_USER_NAME} printable characters and no slash, not {name[:80]!r}.",
            field="name",
        )
    if not name.strip(".") or not unquote(name).strip("."):
        raise Invalid(f"A service name must not consist of dots alone: {name!r}.", field="name")


def check_server_name(name: str) -> None:
    """Raises `Invalid` unless a new named server may be called so."""
    if len(name) > MAX_SERVER_NAME or not _SERVER_NAME.match(name):
        raise Invalid(
            f"Invalid server name {name!r}: at most {MAX_SERVER_NAME} lowercase letters, digits and single "
            "dashes, beginning with a letter.",
            field="name",
        )


def clean_display_name(name: str) -> str:
    """NFC, 1 to 255 printable characters, single inner spaces. Raises `Invalid`."""
    cleaned = unicodedata.normalize("NFC", name)
    if (
        not 0 < len(cleaned) <= MAX_DISPLAY_NAME
        or not cleaned.isprintable()
        or cleaned != " ".join(cleaned.split(" ")).strip()
    ):
        raise Invalid(f"A display name has 1 to {MAX_DISPLAY_NAME} printable characters.", field="display_name")
    if "  " in cleaned:
        raise Invalid("A display name has no double spaces.", field="display_name")
    return cleaned
