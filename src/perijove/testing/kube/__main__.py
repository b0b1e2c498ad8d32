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

_HOME: Final = "/home/jovyan"
_IMAGES: Final = {
    # As `docker inspect` has it of ours.
    "*perijove*": Image(user=1000, group=1000, home="/srv/jupyterhub"),
    "*singleuser*": Image(
        command=("jupyterhub-singleuser",), user=1000, group=100, home=_HOME, working_directory=_HOME
    ),
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
