"""`auth.*`, the way z2jh configured logins before 0.11, translated into `hub.config.*`.

One difference is more than spelling. JupyterHub used to let everybody in who could prove who they are;
since 5.0 nobody gets in until a rule says so. Where the provider itself is closed (an organisation's
directory, a course's LTI keys, a class of one's own), the old meaning is kept with `allow_all: true`.
Where anybody on the internet has an account (GitHub, GitLab, Globus, …) it is not, and a note says
what to add.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from perijove.config.problems import Problem, dotted
from perijove.config.rewrite import Rewrite, is_empty, scalar
from perijove.config.yaml import Node


@dataclass(frozen=True)
class _Provider:
    """One `auth.type`: its class, and where its keys go that are not simply their snake_case."""

    authenticator: str
    section: str
    traits: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    # A key that, when given, closes an open provider.
    closed_by: str = ""


_OAUTH: Final = {"callbackUrl": "oauth_callback_url"}
_PROVIDERS: Final[dict[str, _Provider]] = {
    "azuread": _Provider("azuread", "AzureAdOAuthenticator", _OAUTH, closed_by="tenantId"),
    "auth0": _Provider("auth0", "Auth0OAuthenticator", _OAUTH, closed=True),
    "bitbucket": _Provider("bitbucket", "BitbucketOAuthenticator", {**_OAUTH, "teamWhitelist": "allowed_teams"}),
    "cilogon": _Provider("cilogon", "CILogonOAuthenticator", {**_OAUTH, "idpWhitelist": "allowed_idps"}),
    "github": _Provider(
        "github",
        "GitHubOAuthenticator",
        {
            **_OAUTH,
            "orgWhitelist": "allowed_organizations",
            "org_whitelist": "allowed_organizations",
            "githubUrl": "github_url",
        },
    ),
    "gitlab": _Provider(
        "gitlab",
        "GitLabOAuthenticator",
        {
            **_OAUTH,
            "gitlabGroupWhitelist": "allowed_gitlab_groups",
            "gitlabProjectIdWhitelist": "allowed_project_ids",
        },
        closed_by="gitlabUrl",
    ),
    "globus": _Provider("globus", "GlobusOAuthenticator", _OAUTH),
    "google": _Provider("google", "GoogleOAuthenticator", _OAUTH, closed_by="hostedDomain"),
    "mediawiki": _Provider("mediawiki", "MWOAuthenticator", _OAUTH),
    "okpy": _Provider("okpy", "OkpyOAuthenticator", _OAUTH),
    "openshift": _Provider("openshift", "OpenShiftOAuthenticator", _OAUTH, closed=True),
    "dummy": _Provider("dummy", "DummyAuthenticator", closed=True),
    "hmac": _Provider("hmacauthenticator.HMACAuthenticator", "HMACAuthenticator", closed=True),
    "lti": _Provider("ltiauthenticator.LTIAuthenticator", "LTIAuthenticator", closed=True),
    "tmp": _Provider("tmpauthenticator.TmpAuthenticator", "TmpAuthenticator", closed=True),
    "ldap": _Provider(
        "ldapauthenticator.LDAPAuthenticator",
        "LDAPAuthenticator",
        {
            "server.address": "server_address",
            "server.port": "server_port",
            "server.ssl": "use_ssl",
            "dn.templates": "bind_dn_template",
            "dn.lookup": "lookup_dn",
            "dn.search.filter": "lookup_dn_search_filter",
            "dn.search.user": "lookup_dn_search_user",
            "dn.search.password": "lookup_dn_search_password",
            "dn.user.dnAttribute": "lookup_dn_user_dn_attribute",
            "dn.user.escape": "escape_userdn",
            "dn.user.validRegex": "valid_username_regex",
            "dn.user.searchBase": "user_search_base",
            "dn.user.attribute": "user_attribute",
        },
        closed=True,
    ),
}
_SIMPLE: Final[tuple[tuple[str, str], ...]] = (
    ("admin.access", "hub.config.JupyterHub.admin_access"),
    ("admin.users", "hub.config.Authenticator.admin_users"),
    ("hub.whitelist.users", "hub.config.Authenticator.allowed_users"),
    ("auth.admin.access", "hub.config.JupyterHub.admin_access"),
    ("auth.admin.users", "hub.config.Authenticator.admin_users"),
    ("auth.whitelist.users", "hub.config.Authenticator.allowed_users"),
    ("auth.allowlist.users", "hub.config.Authenticator.allowed_users"),
    ("auth.allowedUsers", "hub.config.Authenticator.allowed_users"),
    ("auth.blacklist.users", "hub.config.Authenticator.blocked_users"),
    ("auth.blocklist.users", "hub.config.Authenticator.blocked_users"),
    ("auth.state.enabled", "hub.config.Authenticator.enable_auth_state"),
    ("auth.scopes", "hub.config.OAuthenticator.scope"),
)
# Switches that went with the lists above, which speak for themselves.
_SWITCHES: Final = ("auth.whitelist.enabled", "auth.allowlist.enabled", "auth.blacklist.enabled")
_HOW_TO_ALLOW: Final = "hub:\n  config:\n    Authenticator:\n      allow_all: true"


def _path(text: str) -> tuple[str, ...]:
    return tuple(text.split("."))


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def translate_auth(tree: Rewrite) -> None:
    """Replace `auth` by what it means in `hub.config`."""
    auth = tree.root.at(("auth",))
    kind = tree.root.at(("auth", "type"))
    allowing = auth is not None and _allows_already(tree, auth)
    closed = auth is not None and _is_closed(auth, kind)
    _people(tree)
    if auth is None:
        return
    if not isinstance(auth.value, dict):
        tree.take(("auth",))
        return
    for old in _SWITCHES:
        tree.drop(_path(old), "the list of users says it")
    crypto_key = tree.root.at(("auth", "state", "cryptoKey"))
    if crypto_key is not None:
        keys = Node([crypto_key], crypto_key.position, crypto_key.key_position)
        tree.move(("auth", "state", "cryptoKey"), ("hub", "config", "CryptKeeper", "keys"), keys)
    _custom(tree)
    for name, provider in _PROVIDERS.items():
        _provider(tree, name, provider)
    if kind is not None:
        _type(tree, kind)
        if not allowing:
            _allow(tree, kind, closed=closed)
    _leftovers(tree)


def _people(tree: Rewrite) -> None:
    for old, new in _SIMPLE:
        tree.move(_path(old), _path(new))
    for emptied in (("admin",), ("hub", "whitelist")):
        if (node := tree.root.at(emptied)) is not None and is_empty(node):
            tree.take(emptied)


def _allows_already(tree: Rewrite, auth: Node) -> bool:
    """Whether some rule says who may come in."""
    lists = (
        ("whitelist", "users"), ("allowlist", "users"), ("allowedUsers",), ("github", "orgWhitelist"),
        ("github", "org_whitelist"), ("gitlab", "gitlabGroupWhitelist"), ("gitlab", "gitlabProjectIdWhitelist"),
        ("bitbucket", "teamWhitelist"), ("ldap", "allowedGroups"),
    )  # fmt: skip
    if any((node := auth.at(path)) is not None and node.value for path in lists):
        return True
    older = tree.root.at(("hub", "whitelist", "users"))
    if older is not None and older.value:
        return True
    config = tree.root.at(("hub", "config"))
    sections = config.value.values() if config is not None and isinstance(config.value, dict) else ()
    return any(
        name.startswith("allow") for section in sections if isinstance(section.value, dict) for name in section.value
    )


def _is_closed(auth: Node, kind: Node | None) -> bool:
    if kind is None:
        return False
    if kind.value == "custom":
        class_name = auth.at(("custom", "className"))
        name = str(class_name.value).lower() if class_name is not None else ""
        open_names = ("github", "gitlab", "google", "globus", "cilogon", "bitbucket", "mediawiki")
        return not any(word in name for word in open_names)
    provider = _PROVIDERS.get(str(kind.value))
    if provider is None:
        return False
    closing = auth.at((str(kind.value), provider.closed_by)) if provider.closed_by else None
    return provider.closed or (closing is not None and bool(closing.value))


def _custom(tree: Rewrite) -> None:
    class_name = tree.root.at(("auth", "custom", "className"))
    if class_name is not None and isinstance(class_name.value, str):
        section = class_name.value.rsplit(".", 1)[-1]
        tree.move(("auth", "custom", "config"), ("hub", "config", section))
    kind = tree.root.at(("auth", "type"))
    if kind is not None and kind.value == "custom":
        tree.move(("auth", "custom", "className"), ("hub", "config", "JupyterHub", "authenticator_class"))


def _provider(tree: Rewrite, name: str, provider: _Provider) -> None:
    for old, trait in provider.traits.items():
        tree.move(("auth", name, *old.split(".")), ("hub", "config", provider.section, trait))
    rest = tree.root.at(("auth", name))
    if rest is None or not isinstance(rest.value, dict):
        return
    for old, node in list(rest.value.items()):
        if isinstance(node.value, dict) and not node.value:
            tree.take(("auth", name, old))
        elif old not in ("server", "dn"):
            tree.move(("auth", name, old), ("hub", "config", provider.section, _snake(old)))


def _type(tree: Rewrite, kind: Node) -> None:
    if kind.value == "custom":
        tree.take(("auth", "type"))
        return
    provider = _PROVIDERS.get(str(kind.value))
    if provider is None:
        known = ", ".join(sorted([*_PROVIDERS, "custom"]))
        remedy = "set hub.config.JupyterHub.authenticator_class to the class instead"
        message = f"`auth.type: {kind.value}` is not known"
        tree.problems.append(Problem(("auth", "type"), message, kind.where, f"one of {known}", remedy))
        tree.take(("auth", "type"))
        return
    new = ("hub", "config", "JupyterHub", "authenticator_class")
    tree.take(("auth", "type"))
    tree.put(new, scalar(provider.authenticator, kind))
    text = f"`auth.type: {kind.value}` is now `{dotted(new)}: {provider.authenticator}`"
    tree.note(("auth", "type"), kind, text)


def _allow(tree: Rewrite, kind: Node, *, closed: bool) -> None:
    path = ("auth", "type")
    if kind.value in ("dummy", "tmp"):
        return
    if closed:
        tree.put(("hub", "config", "Authenticator", "allow_all"), scalar(True, kind))
        tree.note(path, kind, "`auth` without a list of users let everybody in who can log in there; "
                  "now that is `hub.config.Authenticator.allow_all: true`")  # fmt: skip
    else:
        tree.note(path, kind, "nobody but admins can log in: `auth` without a list of users once let "
                  f"everybody in, which must be said now. To keep it, add\n{_HOW_TO_ALLOW}")  # fmt: skip


def _leftovers(tree: Rewrite) -> None:
    """Take `auth` away; what nothing above knew is a problem."""
    auth = tree.root.at(("auth",))
    if auth is None or not isinstance(auth.value, dict):
        return
    for name, node in auth.value.items():
        for path, inner in _leaves(("auth", name), node):
            tree.problems.append(
                Problem(path, f"unknown key `{path[-1]}`", inner.where,
                        remedy="authenticators are configured in hub.config.<Class>.<trait>")
            )  # fmt: skip
    tree.take(("auth",))


def _leaves(path: tuple[str, ...], node: Node) -> list[tuple[tuple[str, ...], Node]]:
    if isinstance(node.value, dict):
        return [leaf for name, inner in node.value.items() for leaf in _leaves((*path, name), inner)]
    return [] if node.value is None else [(path, node)]
