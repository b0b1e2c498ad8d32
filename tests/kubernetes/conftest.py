"""The cluster that tests here run against; PERIJOVE_TEST_KUBECONFIG names a real one instead."""

import pytest

from perijove.testing.kube.kubelet.images import Image
from perijove.testing.kube.target import open_target

# What the images of notebook servers run when a pod names no command.
IMAGES = {"*singleuser*": Image(command=("jupyterhub-singleuser",), user=1000, group=100, home="/home/jovyan")}


@pytest.fixture
async def cluster():
    async with open_target(IMAGES) as target:
        yield target
