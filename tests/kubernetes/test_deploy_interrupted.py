"""Deploys that are killed, that meet a server in trouble, or that meet each other."""

import asyncio
import base64
import itertools
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from perijove.deploy import lock
from perijove.deploy.errors import AlreadyRunning, LockLost
from perijove.deploy.history import State
from perijove.deploy.waiting import Deadline
from perijove.kube.client import open_client
from perijove.kube.refs import Ref
from perijove.testing.deploying import QUICK, config_text
from perijove.testing.waiting import until

INGRESS = "ingress: {enabled: true, hosts: [hub.example.org]}"
WITH, WITHOUT = config_text(more=INGRESS), config_text(hub="other")

NUMBERS = itertools.count(4194305)


class Killed(BaseException):
    """The process is gone: nothing it does from here on reaches the cluster."""


@asynccontextmanager
async def dying(releases, writes):
    """A client whose process is killed at a write, before its answer is read."""
    async with open_client(kubeconfig=releases.target.kubeconfig, patience=QUICK) as client:
        request, left = client.transport.request, [writes]

        async def counted(method, path, *, query=None, **more):
            if left[0] < 0:
                raise Killed
            is_write = method != "GET" and "dryRun" not in (query or {})
            left[0] -= is_write
            answer = await request(method, path, query=query, **more)
            if is_write and left[0] < 0:
                raise Killed
            return answer

        client.transport.request = counted
        yield client


async def killed(releases, text, writes, **wishes):
    """Whether it was killed, or done before it came to so many writes."""
    with pytest.MonkeyPatch.context() as patch:
        # A process of this machine that is no more: no number of a process is this high.
        number = next(NUMBERS)
        patch.setattr(lock, "process_number", lambda: number)
        async with dying(releases, writes) as client:
            try:
                await releases.deploy(text, client=client, **wishes)
            except Killed:
                return True
    return False


async def assert_converged(releases, text, **wishes):
    prepared = await releases.prepare(text, **wishes)
    assert prepared.plan.is_nothing
    rendered = {step.ref.identity for step in prepared.plan.steps}
    assert {ref.identity for ref in prepared.inventory.objects} == rendered
    history = await releases.deployment(**wishes).history(prepared.release.name).all()
    assert history[0].state is State.DEPLOYED
    assert State.PENDING not in {one.state for one in history}


@pytest.mark.slow
async def test_a_deploy_killed_at_any_step_is_finished_by_the_next(releases):
    """Objects come and go between two configurations; whatever the kill left, the same command again ends it.

    Killed after a write is, to the cluster, killed before the next one.
    """
    await releases.deploy(WITH, wait=False)
    wanted, other = WITHOUT, WITH
    writes = 0
    while await killed(releases, wanted, writes, wait=False):
        await releases.deploy(wanted, wait=False)
        await assert_converged(releases, wanted)
        has_ingress = await releases.find("networking.k8s.io/v1", "Ingress", "jupyterhub") is not None
        assert has_ingress == (wanted == WITH)
        wanted, other = other, wanted
        writes += 1
    assert writes > 20


async def test_a_first_deploy_killed_early_or_late_is_finished_by_the_next(releases):
    for writes in (0, 1, 2, 3, 8, 14):
        namespace = f"first-{writes}"
        where = {"namespace": namespace, "create_namespace": True, "wait": False}
        assert await killed(releases, WITH, writes, **where)
        await releases.deploy(WITH, **where)
        await assert_converged(releases, WITH, **where)
        await releases.client.delete(Ref("v1", "Namespace", namespace))


async def test_secrets_made_by_a_killed_deploy_are_kept_by_the_next(releases):
    """Otherwise a hub that was started in between would sign cookies with another key."""
    writes = 0
    while await releases.find("v1", "Secret", "hub") is None:
        assert await killed(releases, WITH, writes, wait=False)
        writes += 1
    before = await releases.get("v1", "Secret", "hub")
    await releases.deploy(WITH, wait=False)
    assert (await releases.get("v1", "Secret", "hub"))["data"] == before["data"]


async def test_a_process_that_is_killed_is_finished_by_the_same_command(releases, cluster):
    """For real: SIGKILL in the middle, then `perijove deploy` again."""
    config = releases.directory / "config.yaml"
    config.write_text(config_text())
    program = str(Path(sys.executable).with_name("perijove"))
    where = ["-n", releases.namespace, "--kubeconfig", str(cluster.kubeconfig)]
    command = [program, "deploy", "-f", str(config), *where]
    # Its dry run is answered, and then its revision is never written.
    fault = cluster.fake.server.faults.hang(times=1, verb="create", resource="secrets")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    await until(lambda: fault.met, seconds=30)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert "Deployment hub: 1 of 1 pod ready" in said.decode()


async def test_a_server_in_trouble_is_sat_out(releases, cluster):
    """429, 500, 503, silence and lost answers, all over one deploy."""
    faults = cluster.fake.server.faults
    met = [
        faults.answer(429, times=5, retry_after=0, verb="patch"),
        faults.answer(500, times=5, verb="patch", resource="services"),
        faults.answer(503, times=5, verb="get"),
        faults.answer(504, times=2, verb="list"),
        faults.drop(times=3, after=True, verb="patch", resource="deployments"),
        faults.drop(times=2, after=True, verb="create"),
        faults.drop(times=2, after=True, verb="update"),
    ]
    await releases.deploy(config_text())
    assert [fault.exhausted for fault in met[:6]] == [True] * 6
    await assert_converged(releases, config_text())
    assert [one.number for one in await releases.deployment().history(releases.namespace).all()] == [1]


async def test_a_server_that_is_away_for_a_moment_is_waited_for(releases, cluster):
    server = cluster.fake.server
    task = asyncio.create_task(releases.deploy(config_text()))
    await until(lambda: server.log.find(verb="create", resource="secrets"))
    await server.stop()
    await server.start()
    await task
    await assert_converged(releases, config_text())


async def test_two_deploys_at_once_run_one_after_the_other(releases, cluster):
    """The second says whom it waits for, and both end."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_):
        entered.set()
        await go_on.wait()
        return True

    first = asyncio.create_task(releases.deployment().run(releases.load(config_text(more="cull: {timeout: 1}")), hold))
    await entered.wait()
    async with open_client(kubeconfig=cluster.kubeconfig, patience=QUICK) as other:
        second = asyncio.create_task(releases.deploy(config_text(more="cull: {timeout: 2}"), client=other))
        await until(lambda: f"another deploy of {releases.namespace} is running, by " in releases.told.text)
        assert await releases.find("apps/v1", "Deployment", "hub") is None
        go_on.set()
        await asyncio.gather(first, second)
    history = await releases.deployment().history(releases.namespace).all()
    assert [(one.number, one.state) for one in history] == [(2, State.DEPLOYED), (1, State.SUPERSEDED)]
    assert "timeout: 2" in decoded(await releases.get("v1", "Secret", "hub"))


def decoded(secret):
    return base64.b64decode(secret["data"]["values.yaml"]).decode()


async def test_a_deploy_that_waits_too_long_for_another_says_so_and_changes_nothing(releases):
    holder = lock.Lock(
        client=releases.client,
        namespace=releases.namespace,
        release=releases.namespace,
        report=releases.told,
        identity="ada@laptop/4711/x",
    )
    async with holder.held():
        with pytest.raises(AlreadyRunning, match=r"by ada@laptop \(process 4711\); nothing was changed"):
            await releases.deploy(config_text(), deadline=Deadline(timeout_seconds=0.1, look_seconds=0.02))
    assert await releases.find("apps/v1", "Deployment", "hub") is None
    await releases.deploy(config_text())


async def test_a_lock_of_a_machine_that_vanished_ends_by_itself(releases, monkeypatch):
    """Its holder cannot be asked; that it stopped renewing is seen on the waiting side's own clock."""
    holder = lock.Lock(
        client=releases.client,
        namespace=releases.namespace,
        release=releases.namespace,
        report=releases.told,
        identity="ada@vanished/1/x",
    )
    with monkeypatch.context() as patch:
        # Of the vanished one's lease alone: ours is to be kept however slow this machine is.
        patch.setattr(lock, "LEASE_SECONDS", 1)
        assert await holder.take_once()
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.05)
    await releases.deploy(config_text(), wait=False)
    assert "by ada@vanished" in releases.told.text


async def test_a_deploy_whose_lock_was_taken_writes_nothing_more(releases, monkeypatch):
    """A laptop that slept in the middle of a deploy wakes up and stops."""
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.02)
    lease = Ref("coordination.k8s.io/v1", "Lease", f"perijove-{releases.namespace}", releases.namespace)

    async def slow(_):
        item = await releases.client.get(lease)
        await releases.client.replace(
            {**item, "spec": {**item["spec"], "holderIdentity": "eve@elsewhere/1/x"}}, manager="test"
        )
        await until(lambda: not any(one.get_name() == lock.RENEWING for one in asyncio.all_tasks()))
        return True

    with pytest.raises(LockLost, match="another deploy may have started"):
        await releases.deployment().run(releases.load(config_text()), slow)
    assert await releases.find("apps/v1", "Deployment", "hub") is None
    assert (await releases.client.get(lease))["spec"]["holderIdentity"] == "eve@elsewhere/1/x"
