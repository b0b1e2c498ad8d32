"""Every object that a golden case makes is what three releases of Kubernetes take, unknown fields refused.

The schemas are those that Kubernetes publishes, as the package `kubernetes-validate` carries them. They
do not cover what operators add (Gateway API, Contour, cert-manager); `test_render_entrances.py` looks at
those field by field.
"""

from functools import cache
from pathlib import Path

import pytest
from kubernetes_validate import utils

from perijove.config import load
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render

# The oldest that z2jh supports, one between, and the newest whose schemas are published.
VERSIONS = ("1.28", "1.32", "1.36")
ADDED_BY_OPERATORS = {"HTTPRoute", "HTTPProxy", "Certificate"}
CONFIGS = sorted((Path(__file__).parent / "golden").glob("*/config.yaml"))
SECRETS = GeneratedSecrets(cookie_secret="0" * 64, auth_token="1" * 64, crypt_keys="2" * 64)


@pytest.fixture(scope="module", autouse=True)
def read_schemas_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


def problems(manifest, version: str) -> str:
    try:
        utils.validate(manifest, version, strict=True)
    except utils.ValidationError as error:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        return f"{name}: {'.'.join(map(str, error.path))}: {error.message}"
    return ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.parent.name)
def test_manifests_are_what_kubernetes_takes(config, version):
    manifests = render(load([config]), Release(namespace="jhub"), SECRETS).manifests
    wrong = [problems(manifest, version) for manifest in manifests if manifest["kind"] not in ADDED_BY_OPERATORS]
    assert [problem for problem in wrong if problem] == []


def test_a_field_that_kubernetes_does_not_know_is_found():
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
    assert "prots" in problems(manifest, VERSIONS[0])
