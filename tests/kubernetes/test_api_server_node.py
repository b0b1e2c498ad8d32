"""The node itself: what it leaves behind, what it does without rights, and how many pods it can pretend."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from perijove.testing.hub import is_alive
from perijove.testing.kube import Image
from perijove.testing.kube.kubelet import sandbox
from perijove.testing.kube.stories import Pods
from perijove.testing.kube.target import open_target
from perijove.testing.waiting import until

ALONE = """
import asyncio
from perijove.testing.kube.stories import Pods
from perijove.testing.kube.target import open_target

async def main():
    async with open_target() as target:
        pods = Pods(target)
        await pods.create("sleep 1000 & setsid sleep 1000 & wait", container={"env": [{"name": "MARK", "value": "%s"}]})
        await pods.until_phase("Running")
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def marked(mark):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark and is_alive(process):
                found.append(process)
        except psutil.Error:
            continue
    return found


async def test_nothing_outlives_a_test_process_that_is_killed(tmp_path):
    if not sandbox.can_isolate():
        pytest.skip("processes are only as well kept as namespaces keep them")
    mark = tmp_path.name
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ALONE % mark, stdout=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert await process.stdout.readline() == b"up\n"
    assert len(marked(mark)) >= 2
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: not marked(mark))


async def test_what_is_mounted_below_a_link_stays_in_the_container(tmp_path):
    """/var/run is a link to /run on most machines."""
    place = Path("/var/run") / f"perijove-{tmp_path.name}"
    async with open_target() as target:
        if target.is_real or not sandbox.can_isolate():
            pytest.skip("asks this machine's files, which only this cluster's containers could touch")
        container = {"volumeMounts": [{"name": "v", "mountPath": f"{place}/deep"}]}
        printed = await Pods(target).output(
            f"touch {place}/deep/a; ls {place}/deep", container=container, volumes=[{"name": "v", "emptyDir": {}}]
        )
        assert printed == "a\n"
        assert not place.exists()


async def test_without_the_right_to_mount_paths_are_replaced(monkeypatch):
    monkeypatch.setattr(sandbox, "can_isolate", lambda: False)
    async with open_target() as target:
        if target.is_real:
            pytest.skip("a real node has all rights")
        body = {"metadata": {"name": "settings"}, "data": {"a": "mounted\n"}}
        await target.core.create_namespaced_config_map(target.namespace, body)
        container = {
            "volumeMounts": [{"name": "v", "mountPath": "/etc/settings"}],
            "env": [{"name": "WHERE", "value": "/etc/settings/a"}],
        }
        volumes = [{"name": "v", "configMap": {"name": "settings"}}]
        printed = await Pods(target).output('cat /etc/settings/a "$WHERE"', container=container, volumes=volumes)
        assert printed == "mounted\nmounted\n"
        await Pods(target).create(name="long")
        await Pods(target).until_phase("Running", "long")
        await Pods(target).delete("long")
        await Pods(target).until_gone("long")


async def test_hollow_containers_run_nothing_and_are_running():
    async with open_target({"*": Image(hollow=True)}) as target:
        if target.is_real:
            pytest.skip("a real node has no hollow containers")
        pods = Pods(target)
        await asyncio.gather(*(pods.create(name=f"p-{number}") for number in range(100)))
        probe = {"httpGet": {"path": "/", "port": 80}}
        await pods.create(name="probed", container={"readinessProbe": probe})
        await pods.until_ready("probed")

        async def all_running():
            found = await target.core.list_namespaced_pod(target.namespace)
            return sum(pod.status.phase == "Running" for pod in found.items) == 101

        await until(all_running, seconds=30, every=0.05)
        await target.core.delete_collection_namespaced_pod(target.namespace)

        async def none():
            return not (await target.core.list_namespaced_pod(target.namespace)).items

        await until(none, seconds=30, every=0.05)
