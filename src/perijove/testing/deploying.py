"""Releases for tests: an image that starts in no time in place of ours, and deploys in one call.

The real image's hub takes seconds to start. What deploying is about (order, conflicts, rollouts, failures) needs
pods that answer their probes, or do not, as the configuration says.
"""

import os
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perijove.config import load
from perijove.deploy.deployment import Deployment, Prepared
from perijove.deploy.history import Revision
from perijove.deploy.waiting import Deadline
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Client, open_client
from perijove.kube.refs import Object, Ref
from perijove.kube.transport import Patience
from perijove.testing.kube.kubelet.images import Image
from perijove.testing.kube.target import Target

QUICK = Patience(attempt_seconds=2, deadline_seconds=10, first_pause_seconds=0.01, longest_pause_seconds=0.05)
SOON = Deadline(timeout_seconds=20, hopeless_seconds=0.5, look_seconds=0.05)

# Answers every request with 200, at the address of its pod; or does what BEHAVIOUR says.
_PROGRAM = """#!/bin/sh
echo "stub: $*"
case "${BEHAVIOUR:-}" in
crash) echo "no database at postgresql://db" >&2; exit 3 ;;
deaf) exec /bin/sleep 3600 ;;
esac
port=8081
case "$(basename "$0") $1" in
# The one that is real: what it deploys are stubs.
"perijove controller") exec %(real)s "$@" ;;
configurable-http-proxy*|"perijove proxy") port=8000 ;;
esac
exec %(python)s -IS -c '
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    connection.close()
' "$POD_IP" $port
"""

# Everything off that needs images of others; every pod knows its address.
BASE = """
hub:
  db: {type: %(db)s, url: "%(url)s"}
  extraEnv:
    POD_IP: {valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    BEHAVIOUR: "%(hub)s"
proxy:
  service: {type: %(service)s}
  chp:
    extraEnv:
      POD_IP: {valueFrom: {fieldRef: {fieldPath: status.podIP}}}
      BEHAVIOUR: "%(proxy)s"
scheduling:
  userScheduler: {enabled: false}
  userPlaceholder: {enabled: false}
prePuller:
  hook: {enabled: false}
  continuous: {enabled: false}
"""

_STUBBED = ("*perijove*", "*k8s-hub*", "*configurable-http-proxy*")


def config_text(
    *, db: str = "sqlite-pvc", url: str = "", hub: str = "", proxy: str = "", service: str = "ClusterIP", more: str = ""
) -> str:
    """A `config.yaml`; `hub` and `proxy` say how the stubs behave."""
    return BASE % {"db": db, "url": url, "hub": hub, "proxy": proxy, "service": service} + textwrap.dedent(more)


def stub_image(directory: Path) -> Image:
    """In place of ours and of z2jh's: what they start is a program of a few lines."""
    directory.chmod(0o755)
    for name in ("perijove", "jupyterhub", "configurable-http-proxy"):
        program = directory / name
        program.write_text(_PROGRAM % {"python": sys.executable, "real": Path(sys.executable).with_name("perijove")})
        program.chmod(0o755)
    # The pause before a pod ends is for clients of what is real.
    pause = directory / "sleep"
    pause.write_text("#!/bin/sh\n")
    pause.chmod(0o755)
    path = os.pathsep.join([str(directory), "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
    return Image(entrypoint=(), environment={"PATH": path})


@dataclass
class Told:
    """A report that remembers."""

    lines: list[str] = field(default_factory=list)

    def done(self, text: str) -> None:
        self.lines.append(f"done: {text}")

    def note(self, text: str) -> None:
        self.lines.append(f"note: {text}")

    def waiting(self, text: str) -> None:
        self.lines.append(f"waiting: {text}")

    def trouble(self, text: str) -> None:
        self.lines.append(f"trouble: {text}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Releases:
    """Deploys into a target's namespace."""

    target: Target
    client: Client
    directory: Path
    told: Told = field(default_factory=Told)

    @property
    def namespace(self) -> str:
        return self.target.namespace

    def wishes(self, **changes: Any) -> Wishes:
        return Wishes(**{"namespace": self.namespace, "deadline": SOON, "by": "ada", **changes})

    def load(self, text: str) -> Any:
        path = self.directory / "config.yaml"
        path.write_text(text)
        return load([path])

    def deployment(self, client: Client | None = None, **wishes: Any) -> Deployment:
        return Deployment(client=client or self.client, wishes=self.wishes(**wishes), report=self.told)

    async def deploy(self, text: str, *, client: Client | None = None, **wishes: Any) -> Revision:
        """Confirms everything. Raises what the deploy raises."""

        async def yes(_: Prepared) -> bool:
            return True

        revision = await self.deployment(client, **wishes).run(self.load(text), yes)
        assert revision is not None
        return revision

    async def prepare(self, text: str, **wishes: Any) -> Prepared:
        return await self.deployment(**wishes).prepare(self.load(text))

    async def find(self, api_version: str, kind: str, name: str) -> Object | None:
        return await self.client.find(Ref(api_version, kind, name, self.namespace))

    async def get(self, api_version: str, kind: str, name: str) -> Object:
        return await self.client.get(Ref(api_version, kind, name, self.namespace))

    async def apply(self, manifest: Object, *, manager: str = "kubectl", force: bool = True) -> Object:
        manifest["metadata"].setdefault("namespace", self.namespace)
        return (await self.client.apply(manifest, manager=manager, force=force)).item


@asynccontextmanager
async def open_releases(target: Target, directory: Path) -> AsyncIterator[Releases]:
    """`directory` is for configuration files."""
    # Not below /tmp: our pods mount something of their own there.
    with tempfile.TemporaryDirectory(prefix="perijove-stub-", dir="/var/tmp") as programs:
        if not target.is_real:
            image = stub_image(Path(programs))
            target.fake.kubelet.images.known |= dict.fromkeys(_STUBBED, image)
            target.fake.kubelet.pace.probe_factor = 0.02
        async with open_client(kubeconfig=target.kubeconfig, patience=QUICK) as client:
            yield Releases(target, client, directory)
