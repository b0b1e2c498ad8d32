"""A Kubernetes API server with controllers and a node, for tests: no cluster, no containers, one process.

    async with run_cluster(images={"*singleuser*": Image(command=("jupyterhub-singleuser",))}) as cluster:
        os.environ["KUBECONFIG"] = str(cluster.kubeconfig())

It is written so that tests of it hold on a real cluster as well; see `tests/kubernetes/conftest.py`.
"""

from perijove.testing.kube.cluster import Cluster, run_cluster
from perijove.testing.kube.kubelet.images import Image

__all__ = ["Cluster", "Image", "run_cluster"]
