"""No key is accepted and then forgotten: each changes the manifests, gets a note, or is read by the hub itself.

For every key of the schema some value that differs from the default is rendered, from configurations that
switch on what has switches. What the hub reads reaches it in its Secret; those keys are listed here.
"""

import copy
import re
from pathlib import Path

import pytest

from perijove.config import ConfigError, load
from perijove.config.schema.settings import Settings
from perijove.config.validate import key_paths, section_at, section_fields, subsection
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import CONFIG_HASH, render
from perijove.deploy.render.text import to_yaml

EVERYTHING = {
    "hub": {"db": {"type": "postgres", "url": "postgresql://db"}, "deploymentStrategy": {"type": "RollingUpdate"}},
    "proxy": {
        "https": {"enabled": True, "type": "manual", "manual": {"key": "K", "cert": "C"}},
        "deploymentStrategy": {"type": "RollingUpdate"},
    },
    "ingress": {"enabled": True},
    "httpRoute": {"enabled": True, "gateway": {"name": "g"}},
    "httpProxy": {"enabled": True, "hosts": ["a.b"], "tls": {"issuer": {"name": "i"}}},
    "imagePullSecret": {"create": True, "username": "u", "password": "p"},
    "scheduling": {"podPriority": {"enabled": True}},
    "singleuser": {"profileList": [{"display_name": "p", "kubespawner_override": {"image": "p"}}]},
    "perijove": {"image": {"name": "own"}},
}
BASES = [
    {},
    EVERYTHING,
    {"proxy": {"https": {"enabled": True, "type": "secret", "secret": {"name": "s"}}}},
    {"proxy": {"https": {"enabled": True, "type": "letsencrypt", "hosts": ["a.b"]}}},
]
# Values by what a key wants; the first that the schema takes and that changes something will do.
SAMPLES = [
    *(True, False, 7, "changed", ["changed"], {"a": "b"}, [{"name": "n"}], [{"key": "changed"}]),
    *([{"name": "n", "mountPath": "/n"}], {"n": {"mountPath": "/n", "stringData": "x"}}),
    *({"n": {"name": "i", "tag": "t"}}, {"maxSurge": 3}, {"score": {}}, [{"image": "other"}], "2G"),
]
# Read by the hub from its values.yaml.
OF_THE_HUB = re.compile(
    r"""custom | cull\..* | debug\.enabled
    | hub\.(config|concurrentSpawnLimit|consecutiveFailureLimit|activeServerLimit|loadRoles|services
        |allowNamedServers|namedServerLimitPerUser|authenticatePrometheus|redirectToServer|shutdownOnLogout
        |templatePaths|templateVars|db\.(upgrade|url|password))
    | proxy\.https\.letsencrypt\.acmeServer
    | singleuser\.(podNameTemplate|events|extraAnnotations|extraLabels|lifecycleHooks\..*|allowPrivilegeEscalation
        |uid|fsGid|serviceAccountName|storage\..*|extraPodConfig|extraEnv|startTimeout|cmd|defaultUrl
        |networkTools\.resources)""",
    re.VERBOSE,
)
# Switches that only say what is so already, and files that are not there.
ELSEWHERE = {
    "rbac.enabled": "an old spelling",
    "prePuller.hook.pullOnlyOnChanges": "test_render_rules.py",
    "hub.extraConfigFiles": "test_render_secrets.py",
}
SECRETS = GeneratedSecrets(cookie_secret="0" * 64, auth_token="1" * 64, crypt_keys="2" * 64)


def keys() -> list[tuple[str, ...]]:
    found = []
    for path in key_paths(Settings, ()):
        section = section_at(path[:-1])
        assert section is not None
        if subsection(section_fields(section)[path[-1]]) is None:
            found.append(path)
    return found


def with_value(base, path: tuple[str, ...], value):
    changed = copy.deepcopy(base)
    below = changed
    for step in path[:-1]:
        below = below.setdefault(step, {})
    below[path[-1]] = value
    return changed


def outcome(config, file: Path):
    """What is rendered but for the hub's own copy of the configuration, and the words of the notes."""
    file.write_text(to_yaml(config))
    result = render(load([file]), Release(namespace="jhub"), SECRETS)
    manifests = {(item["kind"], item["metadata"]["name"]): copy.deepcopy(item) for item in result.manifests}
    for (kind, _), item in manifests.items():
        if kind == "Secret":
            item.get("data", {}).pop("values.yaml", None)
        if kind == "Deployment":
            del item["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH]
    return manifests, [note.message for note in result.notes]


def choices(path: tuple[str, ...]) -> list[str]:
    section = section_at(path[:-1])
    assert section is not None
    return [word for word in re.findall(r"'([^']*)'", str(section_fields(section)[path[-1]].annotation)) if word]


def has_effect(path: tuple[str, ...], bases, file: Path) -> bool:
    for base, before in bases:
        for value in [*choices(path), *SAMPLES]:
            try:
                if outcome(with_value(base, path, value), file) != before:
                    return True
            except ConfigError:
                continue
    return False


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    file = tmp_path_factory.mktemp("bases") / "config.yaml"
    return [(base, outcome(base, file)) for base in BASES]


@pytest.mark.parametrize("part", sorted(section_fields(Settings)))
def test_every_key_has_an_effect_or_a_note(part, bases, tmp_path):
    file = tmp_path / "config.yaml"
    forgotten = [
        ".".join(path)
        for path in keys()
        if path[0] == part
        and ".".join(path) not in ELSEWHERE
        and not OF_THE_HUB.fullmatch(".".join(path))
        and not has_effect(path, bases, file)
    ]
    assert forgotten == []
