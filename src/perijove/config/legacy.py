"""Old spellings of z2jh's keys, as configurations in the field have them.

Each is translated into the current key, with a note that shows it; where the old and the new key are
both given, the new one wins. `auth.*` has its own module, `legacy_auth.py`.
"""

from typing import Final

from perijove.config.legacy_auth import translate_auth
from perijove.config.problems import Problem, dotted
from perijove.config.rewrite import Rewrite, is_empty, scalar
from perijove.config.yaml import Node

# What charts before 1.0 had: a file that says one of these may have keys which those charts took unread.
_OLD: Final[tuple[tuple[str, str], ...]] = (
    ("token.proxy", "proxy.secretToken"),
    ("hub.rbac.enabled", "rbac.create"),
    ("proxy.image", "proxy.chp.image"),
    ("proxy.imagePullPolicy", "proxy.chp.image.pullPolicy"),
    ("proxy.cmd", "proxy.chp.command"),
    ("proxy.service.nodePort", "proxy.service.nodePorts.http"),
    ("hub.extraConfigMap", "custom"),
    ("hub.imagePullPolicy", "hub.image.pullPolicy"),
    ("hub.uid", "hub.containerSecurityContext.runAsUser"),
    ("hub.publicURL", "hub.config.JupyterHub.public_url"),
    ("singleuser.imagePullPolicy", "singleuser.image.pullPolicy"),
    ("singleuser.storage.class", "singleuser.storage.dynamic.storageClass"),
    ("proxy.nodeSelector", "proxy.chp.nodeSelector"),
    ("proxy.tolerations", "proxy.chp.tolerations"),
    ("proxy.resources", "proxy.chp.resources"),
    ("proxy.pdb", "proxy.chp.pdb"),
    ("proxy.networkPolicy", "proxy.chp.networkPolicy"),
    ("proxy.containerSecurityContext", "proxy.chp.containerSecurityContext"),
    ("proxy.chp.cmd", "proxy.chp.command"),
    ("prePuller.enabled", "prePuller.hook.enabled"),
)
_MOVES: Final[tuple[tuple[str, str], ...]] = (
    ("hub.fsGid", "hub.podSecurityContext.fsGroup"),
    ("singleuser.image.pullSecret", "singleuser.image.pullSecrets"),
    ("singleuser.serviceAccount", "singleuser.serviceAccountName"),
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
    "ingress.https": "`ingress.tls` says which certificates there are",
    "prePuller.image": "images are pulled by pods that need none of their own",
    "singleuser.schedulerStrategy": "`scheduling.userScheduler.enabled: true` fills nodes one by one",
    "scheduling.userScheduler.policy": "kube-scheduler reads no policy file any more, but "
    "`scheduling.userScheduler.plugins` and `pluginConfig`",
}
# Traits of the spawner that people write among the keys of `singleuser`, where no chart had them.
_SPAWNER_TRAITS: Final = {
    "args": "args",
    "httpTimeout": "http_timeout",
    "notebookDir": "notebook_dir",
    "workingDir": "working_dir",
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
_GONE_TRAITS: Final = {"userdata_method": "the user's data are always asked for with GET"}
# Packages whose class JupyterHub has itself by now.
_CLASSES: Final[dict[str, str]] = {
    "dummyauthenticator.DummyAuthenticator": "dummy",
    "jupyterhub.auth.DummyAuthenticator": "dummy",
    "nullauthenticator.NullAuthenticator": "null",
}


# Certificates of one's own, or of whoever ends TLS, need no names.
_HTTPS_WITHOUT_HOSTS: Final = ("manual", "secret", "offload")


def _path(text: str) -> tuple[str, ...]:
    return tuple(text.split("."))


def translate(root: Node) -> Rewrite:
    """The tree in current spelling, with a note for each change."""
    tree = Rewrite.of(root)
    translate_auth(tree)
    _extra_config(tree)
    for part in ("hub", "singleuser"):
        # Before the policy for pulling it, which goes below it.
        _image(tree, (part, "image"))
    _user_ids(tree)
    for old, new in _OLD:
        tree.move(_path(old), _path(new))
    for emptied in (("token",), ("hub", "rbac")):
        if (node := tree.root.at(emptied)) is not None and is_empty(node):
            tree.take(emptied)
    for old, why in _DROPPED.items():
        tree.drop(_path(old), why)
    _pull_secret(tree, ("singleuser", "imagePullSecret"))
    _pull_secret(tree, ("hub", "imagePullSecret"))
    _cloud_metadata(tree)
    _host_path(tree)
    _extra_images(tree)
    tree.is_old = bool(tree.moved)
    _https(tree)
    for old, new in _MOVES:
        tree.move(_path(old), _path(new))
    _spawner_traits(tree)
    _database(tree)
    _classes(tree)
    return tree


def _user_ids(tree: Rewrite) -> None:
    """They go below keys that take anything, where nothing would tell of a word in a number's place."""
    for path in (("hub", "uid"), ("hub", "fsGid")):
        node = tree.root.at(path)
        if node is not None and isinstance(node.value, str) and node.value:
            text = f'this is the string "{node.value}"'
            remedy = "write the number without quotes, or null"
            tree.problems.append(Problem(path, text, node.where, "a whole number", remedy))
            tree.take(path)


def _extra_config(tree: Rewrite) -> None:
    path = ("hub", "extraConfig")
    node = tree.root.at(path)
    if node is None or not isinstance(node.value, str):
        return
    tree.take(path)
    if is_empty(node):
        return
    named = Node(node.value, node.position, node.key_position, node.text, node.style)
    tree.put((*path, "extraConfig"), named)
    tree.note(path, node, "`hub.extraConfig` as one string is now a map of named pieces")


def _pull_secret(tree: Rewrite, path: tuple[str, ...]) -> None:
    node = tree.root.at(path)
    if node is None or not isinstance(node.value, dict):
        return
    enabled = node.at(("enabled",))
    if enabled is None or enabled.value is not True:
        tree.drop(path, "it is not `enabled`")
        return
    new = ("imagePullSecret",)
    if tree.root.at((*new, "create")) is not None:
        tree.drop(path, "one secret, `imagePullSecret`, serves the hub and the servers")
        return
    tree.take(path)
    for name, inner in node.value.items():
        if inner.value is not None:
            tree.put((*new, "create" if name == "enabled" else name), inner)
    tree.note(path, node, f"`{dotted(path)}` is now `imagePullSecret` at the top level, and its `enabled` is `create`")


def _https(tree: Rewrite) -> None:
    """Before 0.10, naming hosts was enough to have HTTPS."""
    path = ("proxy", "https")
    hosts, kind = tree.root.at((*path, "hosts")), tree.root.at((*path, "type"))
    wanted = (hosts is not None and not is_empty(hosts)) or (kind is not None and kind.value in _HTTPS_WITHOUT_HOSTS)
    cause = hosts or kind
    if tree.is_old and wanted and cause is not None and tree.root.at((*path, "enabled")) is None:
        tree.put((*path, "enabled"), scalar(True, cause))
        tree.note(path, cause, "HTTPS was on unless switched off; now that is `proxy.https.enabled: true`")


def _extra_images(tree: Rewrite) -> None:
    """Once a list; each image has a name of its own now, of which nothing depends."""
    path = ("prePuller", "extraImages")
    node = tree.root.at(path)
    if node is None or not isinstance(node.value, list):
        return
    tree.take(path)
    if not node.value:
        return
    images = {f"image-{index}": image for index, image in enumerate(node.value, 1)}
    tree.put(path, Node(dict(images), node.position, node.key_position))
    tree.note(path, node, f"`{dotted(path)}` is a map now: {', '.join(images)}, each with name and tag")


def _spawner_traits(tree: Rewrite) -> None:
    for key, trait in _SPAWNER_TRAITS.items():
        old, new = ("singleuser", key), ("hub", "config", "KubeSpawner", trait)
        node = tree.root.at(old)
        if node is not None:
            tree.take(old)
            tree.put(new, node)
            tree.note(old, node, f"`{dotted(old)}` is no key of the chart; it is taken for `{dotted(new)}`")


def _cloud_metadata(tree: Rewrite) -> None:
    old = ("singleuser", "cloudMetadata", "enabled")
    node = tree.root.at(old)
    if node is not None and isinstance(node.value, bool):
        # It said whether servers may reach the metadata service; the new key says whether they may not.
        new = ("singleuser", "cloudMetadata", "blockWithIptables")
        tree.move(old, new, scalar(not node.value, node))


def _host_path(tree: Rewrite) -> None:
    """Any word but the two that charts knew meant: only the volumes that are given."""
    path = ("singleuser", "storage", "type")
    node = tree.root.at(path)
    if node is not None and node.value == "hostPath":
        tree.take(path)
        tree.put(path, scalar("none", node))
        tree.note(path, node, f"`{dotted(path)}: hostPath` is `none`: the volumes in `extraVolumes`, and no others")


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
    for section in ("GenericOAuthenticator", "OAuthenticator"):
        for trait, why in _GONE_TRAITS.items():
            tree.drop(("hub", "config", section, trait), why)
    _inside_of_application(tree)
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
    _listed(tree, ("hub", "config", "GoogleOAuthenticator", "hosted_domain"))
    _identity_providers(tree, ("hub", "config", "CILogonOAuthenticator"))
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


def _inside_of_application(tree: Rewrite) -> None:
    """`JupyterHub: Authenticator: …`: to traitlets, the authenticator that belongs to the application; we have one."""
    application = ("hub", "config", "JupyterHub")
    node = tree.root.at(application)
    if node is None or not isinstance(node.value, dict):
        return
    for name, inner in list(node.value.items()):
        if name[:1].isupper() and isinstance(inner.value, dict):
            tree.move((*application, name), (*application[:-1], name))


def _listed(tree: Rewrite, path: tuple[str, ...]) -> None:
    """Several may be named now, where it was one."""
    node = tree.root.at(path)
    if node is not None and isinstance(node.value, str) and node.value:
        tree.take(path)
        tree.put(path, Node([node], node.position, node.key_position))
        tree.note(path, node, f"`{dotted(path)}` is a list now")


def _identity_providers(tree: Rewrite, section: tuple[str, ...]) -> None:
    """Each says now where a user's name comes from; until then one claim was for all."""
    path = (*section, "allowed_idps")
    node, claim = tree.root.at(path), tree.root.at((*section, "username_claim"))
    if node is None or not isinstance(node.value, list):
        return
    tree.take(path)
    tree.put(path, Node({}, node.position, node.key_position))
    for provider in node.value:
        named = claim if claim is not None and claim.value else scalar("eppn", provider)
        tree.put((*path, str(provider.value), "username_derivation", "username_claim"), named)
    tree.note(path, node, f"`{dotted(path)}` is a map now: of each provider, its `username_derivation`")
