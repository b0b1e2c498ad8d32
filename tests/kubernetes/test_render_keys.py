"""No key is accepted and then forgotten: each changes the manifests or what the hub is set to, or gets a note.

For every key of the schema, and so for every key of the chart, some value that differs from the default is
rendered from configurations that switch on what has switches. What the hub reads reaches it in its Secret:
those keys are compiled as the hub compiles them, and a trait, an option or a variable must differ.
"""

import copy
import dataclasses
import re
from pathlib import Path

import pytest

from perijove.config import ConfigError, compile_config, load
from perijove.config.problems import NoteKind
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
    *({"JupyterHub": {"admin_access": False}}, "postgresql://other@db/hub"),
]
# Read by the hub from its values.yaml; manifests need not differ.
OF_THE_HUB = re.compile(
    r"""cull\..* | debug\.enabled
    | hub\.(config|concurrentSpawnLimit|consecutiveFailureLimit|activeServerLimit|loadRoles|services
        |allowNamedServers|namedServerLimitPerUser|authenticatePrometheus|redirectToServer|shutdownOnLogout
        |templatePaths|templateVars|db\.(upgrade|url|password))
    | singleuser\.(podNameTemplate|events|extraAnnotations|extraLabels|lifecycleHooks\..*|allowPrivilegeEscalation
        |uid|fsGid|serviceAccountName|storage\..*|extraPodConfig|extraEnv|startTimeout|cmd|defaultUrl
        |networkTools\.resources)""",
    re.VERBOSE,
)
# Why nothing differs here: what shows these keys instead.
ELSEWHERE = {
    "custom": "for code in the configuration, which asks z2jh.get_config: test_config_code.py",
    "hub.extraConfigFiles": "names files, and there are none here: test_render_secrets.py",
    "prePuller.hook.pullOnlyOnChanges": "depends on what was rendered before: test_render_rules.py",
    "proxy.https.letsencrypt.acmeServer": "nothing fetches certificates yet, as a note on proxy.https says",
    "rbac.enabled": "an old spelling",
}
KEYS = Path(__file__).with_name("z2jh-keys.txt")
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
    """What is rendered but for the hub's own copy of the configuration, and the notes."""
    file.write_text(to_yaml(config))
    result = render(load([file]), Release(namespace="jhub"), SECRETS)
    manifests = {(item["kind"], item["metadata"]["name"]): copy.deepcopy(item) for item in result.manifests}
    for (kind, _), item in manifests.items():
        if kind == "Secret":
            item.get("data", {}).pop("values.yaml", None)
        if kind == "Deployment":
            del item["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH]
    return manifests, {(note.path, note.message) for note in result.notes}


def choices(path: tuple[str, ...]) -> list[str]:
    section = section_at(path[:-1])
    assert section is not None
    return [word for word in re.findall(r"'([^']*)'", str(section_fields(section)[path[-1]].annotation)) if word]


def compiled(config, file: Path) -> str:
    """What the hub would be set to, in words that two compilations of the same have in common."""
    file.write_text(to_yaml(config))
    found = compile_config(load([file]), data_dir=file.parent / "data", environment={}, target="kubernetes")
    options = {each.name: getattr(found.options, each.name) for each in dataclasses.fields(found.options)}
    unused = [note.message for note in found.notes if note.kind is NoteKind.UNUSED]
    words = f"{options} {found.traits} {dict(found.environment)} {unused}"
    return re.sub(r" at 0x\w+", "", words)


def reaches_the_hub(path: tuple[str, ...], file: Path) -> bool:
    base = {"hub": {"db": {"type": "postgres", "url": "postgresql://hub@db/hub"}}} if "db" in path else {}
    base = with_value(base, ("singleuser", "storage", "type"), "static") if "static" in path else base
    before = compiled(base, file)
    found = (attempted(compiled, with_value(base, path, value), file) for value in [*choices(path), *SAMPLES])
    return any(words not in (None, before) for words in found)


def attempted(look, config, file: Path):
    """None where the value is not of the kind that the key wants."""
    try:
        return look(config, file)
    except ConfigError:
        return None


def has_effect(path: tuple[str, ...], bases, file: Path) -> bool:
    """Whether the manifests differ, or a note on this key, or on one above it, says why they do not."""
    for base, (manifests, notes) in bases:
        for value in [*choices(path), *SAMPLES]:
            found = attempted(outcome, with_value(base, path, value), file)
            if found is None:
                continue
            if found[0] != manifests or any(path[: len(about)] == about for about, _ in found[1] - notes):
                return True
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
        and not (reaches_the_hub(path, file) if OF_THE_HUB.fullmatch(".".join(path)) else has_effect(path, bases, file))
    ]
    assert forgotten == []


def test_every_key_of_the_chart_is_a_key_here():
    lines = [line.split(":") for line in KEYS.read_text().splitlines() if not line.startswith("#")]
    theirs = {f"{section}.{name}".removeprefix("-.") for section, names in lines for name in names.split()}
    assert theirs - {".".join(path) for path in key_paths(Settings, ())} == set()


def test_what_is_shown_elsewhere_is_a_key():
    assert {*ELSEWHERE} - {".".join(path) for path in keys()} == set()


def test_two_compilations_of_the_same_have_the_same_words(tmp_path):
    assert compiled({}, tmp_path / "config.yaml") == compiled({}, tmp_path / "config.yaml")
