"""The cluster that tests here run against; PERIJOVE_TEST_KUBECONFIG names a real one instead."""

import pytest

from perijove.config import load
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render
from perijove.testing.deploying import open_releases
from perijove.testing.kube.notebooks import NOTEBOOKS
from perijove.testing.kube.target import open_target


@pytest.fixture
async def cluster():
    async with open_target(NOTEBOOKS) as target:
        yield target


@pytest.fixture
def rendered(tmp_path):
    """A configuration's manifests by kind and name, and the notes."""
    kept = GeneratedSecrets(cookie_secret="0" * 64, auth_token="1" * 64, crypt_keys="2" * 64)

    def make(text: str = "", release: Release | None = None, secrets: GeneratedSecrets = kept):
        config = tmp_path / "config.yaml"
        config.write_text(text)
        result = render(load([config]), release or Release(namespace="jhub"), secrets)
        found = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in result.manifests}
        return found, result.notes

    return make


@pytest.fixture
async def grant(releases):
    """Applies the hub's account and rights out of rendered manifests, and nothing else."""

    async def apply(manifests):
        kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
        for (kind, name), manifest in manifests.items():
            if kind in kinds and name in ("hub", "jhub-hub"):
                await releases.client.apply(manifest, manager="test", force=True)

    return apply


@pytest.fixture
async def releases(cluster, tmp_path):
    """Deploys into the cluster's namespace, of pods that answer their probes at once."""
    async with open_releases(cluster, tmp_path) as releases:
        yield releases
