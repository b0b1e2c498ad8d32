"""The commands in the manifests, run as they stand: only paths, ports and names of hosts are this machine's."""

import base64
import os
import subprocess
import sys
from contextlib import suppress

import aiohttp
import pytest

from perijove.cli.listening import free_port
from perijove.testing.waiting import until

CONFIG = """
hub:
  existingSecret: mine
  extraFiles: {code: {mountPath: /usr/local/etc/jupyterhub/jupyterhub_config.d/code.py, stringData: c.X.y = 1}}
  extraConfig: {names: "c.JupyterHub.template_vars = {'scheduler': get_name('user-scheduler')}"}
  config: {DummyAuthenticator: {allow_all: true}}
"""


class Pod:
    """One container of a Deployment as a process."""

    def __init__(self, found, name: str, directory, here: dict[str, str]) -> None:
        self.container = found["Deployment", name]["spec"]["template"]["spec"]["containers"][0]
        self.entries = {
            entry: base64.b64decode(value).decode() for entry, value in found["Secret", "hub"]["data"].items()
        }
        self.here = here
        self.log = directory / f"{name}.log"
        words = [*self.container.get("command", []), *self.container["args"]]
        assert words[0] == "perijove"
        command = [sys.executable, "-P", "-m", "perijove.cli", *map(self.local, words[1:])]
        environment = {**os.environ, **dict(map(self.variable, self.container["env"]))}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def local(self, text: str) -> str:
        for there, here in self.here.items():
            text = text.replace(there, here)
        return text

    def variable(self, entry) -> tuple[str, str]:
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            return entry["name"], self.entries[source["secretKeyRef"]["key"]]
        return entry["name"], entry.get("value", "jhub")

    def probed(self, kind: str, port: int) -> str:
        return f"http://127.0.0.1:{port}{self.container[kind]['httpGet']['path']}"

    def end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@pytest.fixture
async def pods(rendered, tmp_path):
    found, _ = rendered(CONFIG)
    hub, proxy = free_port(), free_port()
    here = {
        "/etc/perijove": str(tmp_path / "etc"),
        "/usr/local/etc/jupyterhub/existing-secret": str(tmp_path / "existing"),
        "/srv/jupyterhub": str(tmp_path / "srv"),
        "/var/lib/perijove": str(tmp_path),
        "http://hub:8081": f"http://127.0.0.1:{hub}",
        "=8081": f"={hub}",
        "=8000": f"={proxy}",
        "=8002": f"={free_port()}",
    }
    for name, entries in {
        "etc": {key: base64.b64decode(value) for key, value in found["Secret", "hub"]["data"].items()},
        "existing": {"values.yaml": b"hub: {baseUrl: /}\n", "hub.config.DummyAuthenticator.password": b"hunter2"},
    }.items():
        (tmp_path / name).mkdir()
        for entry, content in entries.items():
            (tmp_path / name / entry).write_bytes(content)
    running = [Pod(found, name, tmp_path, here) for name in ("hub", "proxy")]
    yield *running, hub, proxy
    # All of them first: a failure of one must not leave the other running.
    codes = [pod.end() for pod in running]
    assert codes == [0, 0], "\n".join(pod.log.read_text() for pod in running)


async def test_hub_and_proxy_come_up_and_pass_their_probes(pods):
    hub, proxy, hub_port, proxy_port = pods
    async with aiohttp.ClientSession() as session:

        async def answers(url: str) -> bool:
            for pod in (hub, proxy):
                assert pod.process.poll() is None, pod.log.read_text()
            with suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    return response.status == 200
            return False

        for pod, port in ((hub, hub_port), (proxy, proxy_port)):
            for kind in ("livenessProbe", "readinessProbe"):
                url = pod.probed(kind, port)
                await until(lambda url=url: answers(url), seconds=30, every=0.05)
        async with session.get(f"http://127.0.0.1:{proxy_port}/hub/login") as response:
            assert response.status == 200, hub.log.read_text()
