"""Roles that every hub has, and the rules for the names of others."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from perijove.domain.errors import Invalid
from perijove.domain.scope_table import ADDED

_NAME = re.compile(r"[a-z][a-z0-9\-_~.]{1,253}[a-z0-9]")

USER, ADMIN, SERVER, TOKEN = "user", "admin", "server", "token"


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    description: str
    scopes: tuple[str, ...]


DEFAULT_ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role(USER, "Standard user privileges", ("self",)),
        Role(
            ADMIN,
            "Elevated privileges (can do anything)",
            (
                "admin-ui",
                "admin:users",
                "admin:servers",
                "admin:services",
                "tokens",
                "admin:groups",
                "list:services",
                "read:services",
                "read:hub",
                "proxy",
                "shutdown",
                "access:services",
                "access:servers",
                "read:roles",
                "read:metrics",
                "shares",
                *ADDED,
            ),
        ),
        Role(SERVER, "Post activity only", ("users:activity!user", "access:servers!server")),
        Role(TOKEN, "Token with same permissions as its owner", ("inherit",)),
    )
}


def check_role_name(name: str) -> None:
    """Raises `Invalid` unless a role may be called so."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"Invalid role name {name!r}: 3 to 255 lowercase letters, digits and -_~. , beginning with a "
            "letter and ending with a letter or digit.",
            field="name",
        )


def server_token_scopes(configured: Iterable[str]) -> tuple[str, ...]:
    """What a server's own token is issued with: as configured, but it can always report activity."""
    scopes = tuple(configured) or DEFAULT_ROLES[SERVER].scopes
    if not {"users:activity", "users:activity!user", "inherit"} & set(scopes):
        scopes = (*scopes, "users:activity!user")
    return scopes
