"""What configurations are rendered to, whole: a change of any of it has to be looked at and agreed to.

`golden/<case>/config.yaml` says what is covered. `expected.yaml` holds all objects of the case `default`,
and of the others those that differ from it and the names of those that are missing. Secrets are shown
decoded. After a change that is meant: `python tests/kubernetes/test_render_golden.py --rewrite`, and
read the difference.
"""

import base64
import re
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from perijove.config import load
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import Rendered, render
from perijove.deploy.render.text import all_to_yaml

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/config.yaml"))
SECRETS = GeneratedSecrets(cookie_secret="0" * 64, auth_token="1" * 64, crypt_keys="2" * 64)
FIRST = "default"


@cache
def rendered(case: str) -> Rendered:
    config = GOLDEN / case / "config.yaml"
    release = re.match(r"# release: (\S+)", config.read_text())
    name = release[1] if release else "jhub"
    return render(load([config]), Release(name=name, namespace="jhub", image="perijove:test"), SECRETS)


def name_of(manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def shown(case: str) -> str:
    result = rendered(case)
    notes = [f"# note: {str(note).replace(str(GOLDEN), 'golden')}\n" for note in result.notes]
    manifests = [decoded(manifest) for manifest in result.manifests]
    if case == FIRST:
        return "".join(notes) + all_to_yaml(manifests)
    base = {name_of(manifest): manifest for manifest in map(decoded, rendered(FIRST).manifests)}
    missing = [f"# not here: {name}\n" for name in base if name not in set(map(name_of, manifests))]
    different = [manifest for manifest in manifests if base.get(name_of(manifest)) != manifest]
    return "".join(notes + missing) + all_to_yaml(different)


def decoded(manifest):
    """With the text of a Secret instead of base64; what is not text stays as it is."""
    if manifest["kind"] != "Secret":
        return manifest
    return {**manifest, "data": {key: text(value) for key, value in manifest.get("data", {}).items()}}


def text(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except UnicodeDecodeError:
        return f"base64: {value}"


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_is_rendered_to_what_was_agreed(case):
    expected = GOLDEN / case / "expected.yaml"
    assert expected.exists(), "--rewrite makes it"
    assert shown(case) == expected.read_text()


def test_the_same_configuration_is_always_rendered_to_the_same():
    for case in CASES:
        assert rendered.__wrapped__(case) == rendered(case), case


def test_rendering_takes_less_than_a_second():
    loaded = load([GOLDEN / "pod" / "config.yaml"])
    start = time.perf_counter()
    render(loaded, Release(namespace="jhub"), SECRETS)
    assert time.perf_counter() - start < 1


def test_no_two_objects_have_one_name():
    for case in CASES:
        names = [name_of(manifest) for manifest in rendered(case).manifests]
        assert len(names) == len(set(names)), case


def rewrite() -> None:
    for case in CASES:
        expected = GOLDEN / case / "expected.yaml"
        content = shown(case)
        if not expected.exists() or expected.read_text() != content:
            expected.write_text(content)
            sys.stdout.write(f"wrote {expected}\n")


if __name__ == "__main__" and "--rewrite" in sys.argv:
    rewrite()
