"""`python -m perijove.testing.kube`: a cluster to try commands on by hand, until Ctrl-C.

Images of Perijove are this interpreter's installation: hubs and proxies that it starts are real ones, and servers of
users run `jupyterhub-singleuser`.
"""

import asyncio
import signal
import sys
from typing import Final

from perijove.testing.kube.cluster import NAMESPACE, run_cluster
from perijove.testing.kube.kubelet.images import Image
from perijove.testing.kube.notebooks import NOTEBOOKS

_IMAGES: Final = {
    # As the Dockerfile has it.
    "*perijove*": Image(user=1000, group=1000, home="/srv/jupyterhub"),
    # Nothing that this machine has: it is said to run.
    "*kube-scheduler*": Image(hollow=True),
    **NOTEBOOKS,
}


async def serve() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with run_cluster(images=_IMAGES) as cluster:
        sys.stdout.write(f"export KUBECONFIG={cluster.kubeconfig()}\n")
        sys.stdout.flush()
        sys.stderr.write(f"A cluster runs at {cluster.url}, namespace {NAMESPACE}. It ends with Ctrl-C.\n")
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve())
