"""Old spellings of z2jh's keys, as configurations in the field have them.

Each is translated into the current key, with a note that shows it; where the old and the new key are
both given, the new one wins. `auth.*` has its own module, `legacy_auth.py`.
"""

from typing import Final

from perijove.config.legacy_auth import translate_auth
from perijove.config.problems import dotted
from perijove.config.rewrite import Rewrite, scalar
from perijove.config.yaml import Node

_MOVES: Final[tuple[tuple[str, str], ...]] = (
    ("hub.extraConfigMap", "custom"),
    ("hub.imagePullPolicy", "hub.image.pullPolicy"),
    ("hub.uid", "hub.containerSecurityContext.runAsUser"),
    ("hub.fsGid", "hub.podSecurityContext.fsGroup"),
    ("singleuser.imagePullPolicy", "singleuser.image.pullPolicy"),
    ("singleuser.image.pullSecret", "singleuser.image.pullSecrets"),
    ("singleuser.serviceAccount", "singleuser.serviceAccountName"),
    ("proxy.nodeSelector", "proxy.chp.nodeSelector"),
    ("proxy.tolerations", "proxy.chp.tolerations"),
    ("proxy.resources", "proxy.chp.resources"),
    ("proxy.pdb", "proxy.chp.pdb"),
    ("proxy.networkPolicy", "proxy.chp.networkPolicy"),
    ("proxy.containerSecurityContext", "proxy.chp.containerSecurityContext"),
    ("proxy.chp.cmd", "proxy.chp.command"),
    ("userPods", "scheduling.userPods"),
    ("corePods", "scheduling.corePods"),
    ("userScheduler", "scheduling.userScheduler"),
    ("podPriority", "scheduling.podPriority"),
    ("userPlaceholder", "scheduling.userPlaceholder"),
    ("rbac.enabled", "rbac.create"),
)
_DROPPED: Final[dict[str, str]] = {
    "proxy.nginx": "no nginx is involved any more",
    "proxy.lego": "certificates are `proxy.https.letsencrypt` now",
    "singleuser.schedulerStrategy": "`scheduling.userScheduler.enabled: true` fills nodes one by one",
}
# Traits that plug-ins renamed; their old names stand in `hub.config.<Class>`.
_TRAITS: Final[dict[str, str]] = {
    "whitelist": "allowed_users",
    "blacklist": "blocked_users",
    "group_whitelist": "allowed_groups",
    "admin_group_whitelist": "admin_groups",
    "github_organization_whitelist": "allowed_organizations",
    "gitlab_group_whitelist": "allowed_gitlab_groups",
    "gitlab_project_id_whitelist": "allowed_project_ids",
    "bitbucket_team_whitelist": "allowed_teams",
    "google_group_whitelist": "allowed_google_groups",
    "idp_whitelist": "allowed_idps",
    "username_key": "username_claim",
}
# Packages whose class JupyterHub has itself by now.
_CLASSES: Final[dict[str, str]] = {
    "dummyauthenticator.DummyAuthenticator": "dummy",
    "jupyterhub.auth.DummyAuthenticator": "dummy",
    "nullauthenticator.NullAuthenticator": "null",
}


def _path(text: str) -> tuple[str, ...]:
    return tuple(text.split("."))


def translate(root: Node) -> Rewrite:
    """The tree in current spelling, with a note for each change."""
    tree = Rewrite.of(root)
    translate_auth(tree)
    _extra_config(tree)
    for old, new in _MOVES:
        tree.move(_path(old), _path(new))
    for old, why in _DROPPED.items():
        tree.drop(_path(old), why)
    _pull_secret(tree, ("singleuser", "imagePullSecret"))
    _pull_secret(tree, ("hub", "imagePullSecret"))
    _cloud_metadata(tree)
    _database(tree)
    for part in ("hub", "singleuser"):
        _image(tree, (part, "image"))
    _classes(tree)
    return tree


def _extra_config(tree: Rewrite) -> None:
    path = ("hub", "extraConfig")
    node = tree.root.at(path)
    if node is None or not isinstance(node.value, str):
        return
    tree.take(path)
    named = Node(node.value, node.position, node.key_position, node.text, node.style)
    tree.put((*path, "extraConfig"), named)
    tree.note(path, node, "`hub.extraConfig` as one string is now a map of named pieces")


def _pull_secret(tree: Rewrite, path: tuple[str, ...]) -> None:
    node = tree.root.at(path)
    if node is None or not isinstance(node.value, dict):
        return
    tree.move((*path, "enabled"), ("imagePullSecret", "create"))
    for name in ("registry", "username", "password", "email"):
        tree.move((*path, name), ("imagePullSecret", name))
    if not node.value:
        tree.take(path)


def _cloud_metadata(tree: Rewrite) -> None:
    old = ("singleuser", "cloudMetadata", "enabled")
    node = tree.root.at(old)
    if node is not None and isinstance(node.value, bool):
        # It said whether servers may reach the metadata service; the new key says whether they may not.
        new = ("singleuser", "cloudMetadata", "blockWithIptables")
        tree.move(old, new, scalar(not node.value, node))


def _database(tree: Rewrite) -> None:
    path = ("hub", "db", "type")
    node = tree.root.at(path)
    if node is not None and node.value in ("postgresql", "mariadb"):
        new = "postgres" if node.value == "postgresql" else "mysql"
        tree.take(path)
        tree.put(path, scalar(new, node))
        tree.note(path, node, f"`hub.db.type: {node.value}` is spelt `{new}`")


def _image(tree: Rewrite, path: tuple[str, ...]) -> None:
    node = tree.root.at(path)
    if node is None or not isinstance(node.value, str):
        return
    name, _, tag = node.value.rpartition(":")
    if not name or "/" in tag:
        name, tag = node.value, ""
    tree.take(path)
    tree.put((*path, "name"), scalar(name, node))
    tree.put((*path, "tag"), scalar(tag, node))
    tree.note(path, node, f"`{dotted(path)}` is a map now: name: {name}, tag: {tag!r}")


def _classes(tree: Rewrite) -> None:
    config = tree.root.at(("hub", "config"))
    if config is None or not isinstance(config.value, dict):
        return
    for class_name, traits in list(config.value.items()):
        if isinstance(traits.value, dict):
            for old in [name for name in traits.value if name in _TRAITS]:
                if old == "username_key" and not class_name.endswith("OAuthenticator"):
                    continue
                path = ("hub", "config", class_name)
                tree.move((*path, old), (*path, _TRAITS[old]))
    admins = ("hub", "config", "Authenticator", "admin_users")
    if tree.root.at(admins) is None:
        # With both, they are added up when the configuration is compiled.
        tree.move(("hub", "config", "JupyterHub", "admin_users"), admins)
    setting = ("hub", "config", "JupyterHub", "authenticator_class")
    node = tree.root.at(setting)
    if node is not None and node.value in _CLASSES:
        new = _CLASSES[str(node.value)]
        tree.take(setting)
        tree.put(setting, scalar(new, node))
        tree.note(setting, node, f"`authenticator_class: {node.value}` is `{new}`, which JupyterHub has itself")
