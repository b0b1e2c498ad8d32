"""No key of config.yaml is accepted and then forgotten: each is read by the hub or the manifests, or noted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perijove.config import compile_config, load
from perijove.config.legacy import translate
from perijove.config.problems import Position
from perijove.config.schema.base import Section
from perijove.config.schema.settings import Settings
from perijove.config.validate import key_paths
from perijove.config.yaml import Node
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render, without_effect

# Between them, everything that can be switched on is.
SWITCHED_ON = [
    """
    hub:
      db: {type: postgres, url: "postgresql://u@h/d", password: x}
      deploymentStrategy: {type: RollingUpdate}
      pdb: {enabled: true}
      extraFiles: {a: {mountPath: /a.yaml, data: {}}}
      livenessProbe: {enabled: true}
      readinessProbe: {enabled: true}
    proxy:
      deploymentStrategy: {type: RollingUpdate}
      https: {enabled: true, type: letsencrypt, hosts: [a.b], letsencrypt: {contactEmail: a@b.c}}
      chp: {pdb: {enabled: true}}
      service: {type: LoadBalancer}
    singleuser:
      extraFiles: {a: {mountPath: /a, stringData: b}}
      storage: {type: static, static: {pvcName: x}}
    scheduling:
      userScheduler: {enabled: true, pdb: {enabled: true}}
      podPriority: {enabled: true}
      userPlaceholder: {enabled: true, replicas: 3}
    prePuller: {hook: {enabled: true}, continuous: {enabled: true}, extraImages: {a: {name: b, tag: "c"}}}
    ingress: {enabled: true, hosts: [a.b]}
    httpRoute: {enabled: true, hostnames: [a], gateway: {name: x}}
    httpProxy: {enabled: true, hosts: [a.b], tls: {secretName: a, issuer: {name: x}}}
    imagePullSecret: {create: true, registry: r, username: u, password: p, email: e}
    perijove: {image: {name: a, tag: "b"}}
    debug: {enabled: true}
    """,
    """
    hub: {existingSecret: mine}
    proxy:
      https: {enabled: true, type: manual, hosts: [a.b], manual: {key: k, cert: c}}
      service: {type: NodePort}
    ingress: {enabled: true, hosts: [a.b]}
    """,
    "proxy: {https: {enabled: true, type: secret, hosts: [a.b], secret: {name: k}}}",
]
ELSEWHERE = {
    "custom": "read by code, through z2jh.get_config",
    "proxy.https.letsencrypt.acmeServer": "a note on `type` says that nothing fetches certificates yet",
}


class Reads:
    """Which keys of one loaded configuration anybody looked at."""

    def __init__(self) -> None:
        self.places: dict[int, tuple[str, ...]] = {}
        self.seen: set[tuple[str, ...]] = set()

    def follow(self, section: Section, path: tuple[str, ...] = ()) -> None:
        self.places[id(section)] = path
        for field, info in type(section).model_fields.items():
            value = section.__dict__[field]
            for inner in value.values() if isinstance(value, dict) else [value]:
                if isinstance(inner, Section):
                    self.follow(inner, (*path, info.alias or field))

    def of(self, section: Section, name: str, fields: dict) -> None:
        path = self.places.get(id(section))
        if path is None:
            return
        if name in fields:
            self.seen.add((*path, fields[name].alias or name))
        elif name == "model_dump":
            self.seen.update(key_paths(type(section), path))


@pytest.fixture
def reads(monkeypatch) -> Reads:
    found, plain = Reads(), Section.__getattribute__

    def recording(section, name):
        found.of(section, name, plain(section, "__pydantic_fields__"))
        return plain(section, name)

    monkeypatch.setattr(Section, "__getattribute__", recording)
    return found


def leaves() -> list[tuple[str, ...]]:
    paths = set(key_paths(Settings, ()))
    inner = {path[:length] for path in paths for length in range(1, len(path))}
    return sorted(paths - inner)


def translated() -> Iterator[tuple[str, ...]]:
    """Keys of the schema that are old spellings, gone before anybody could read them."""
    here = Position(Path("c.yaml"), 1, 1)
    for path in leaves():
        node = Node(True, here)
        for step in reversed(path):
            node = Node({step: node}, here)
        if path in translate(node).moved:
            yield path


def test_every_key_has_an_effect_or_a_note(reads, tmp_path):
    for index, text in enumerate(SWITCHED_ON):
        file = tmp_path / f"{index}.yaml"
        file.write_text(text)
        loaded = load([file])
        reads.places = {}
        reads.follow(loaded.settings)
        for target in ("kubernetes", "local"):
            compile_config(loaded, data_dir=tmp_path, environment={}, target=target)
        render(loaded, Release(name="jhub", namespace="jhub"), GeneratedSecrets.generate())
    noted = {tuple(text.split(".")) for text in without_effect._REASONS}
    claimed = reads.seen | set(translated())
    forgotten = {
        ".".join(path) for path in leaves() if path not in claimed and not any(path[: len(key)] == key for key in noted)
    }
    assert forgotten == set(ELSEWHERE)


def test_a_migration_that_cannot_be_switched_off_says_so(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("hub: {db: {upgrade: false}}")
    compiled = compile_config(load([file]), data_dir=tmp_path, environment={})
    assert any(note.path == ("hub", "db", "upgrade") for note in compiled.notes)
