"""The chart's controller: what it deploys, what it puts back, what it leaves alone, and what it says."""

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from perijove.controller.attempt import Attempts
from perijove.controller.controller import Controller
from perijove.controller.hub import RETRY
from perijove.controller.status import Teller
from perijove.deploy.errors import OtherDeployer
from perijove.deploy.history import State
from perijove.kube.client import open_client
from perijove.kube.refs import Ref
from perijove.testing.deploying import QUICK, SOON, config_text
from perijove.testing.helm import CHART
from perijove.testing.waiting import until

RELEASE = "jhub"
SECONDS = 30


@dataclass
class Chart:
    """What the chart would have made: its values as mounted files, and the object Hub."""

    releases: object
    directory: Path

    @property
    def client(self):
        return self.releases.client

    @property
    def ref(self):
        return Ref("perijove.io/v1alpha1", "Hub", RELEASE, self.releases.namespace)

    async def define(self):
        definition = YAML(typ="safe").load(CHART / "crds" / "hubs.perijove.io.yaml")
        await self.client.apply(definition, manager="helm")

    async def set(self, text):
        self.directory.mkdir(exist_ok=True)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        for name, content in (
            ("values.yaml", text),
            ("image", "quay.io/perijove/perijove:test"),
            ("checksum", checksum),
        ):
            (self.directory / name).write_text(content)
        hub = {"apiVersion": self.ref.api_version, "kind": "Hub", "metadata": {"name": RELEASE}}
        await self.releases.apply({**hub, "spec": {"checksum": checksum}}, manager="helm")

    def controller(self, client=None):
        return Controller(
            client=client or self.client,
            namespace=self.releases.namespace,
            release=RELEASE,
            directory=self.directory,
            ready_file=self.directory / "ready",
            deadline=SOON,
        )

    def attempts(self, client):
        where = {"client": client, "namespace": self.releases.namespace, "release": RELEASE}
        return Attempts(**where, directory=self.directory, teller=Teller(**where), deadline=SOON)

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.controller().run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def conditions(self):
        """Those about the newest generation."""
        hub = await self.client.get(self.ref)
        status = hub.get("status") or {}
        is_news = status.get("observedGeneration") == hub["metadata"]["generation"]
        return {one["type"]: one for one in status["conditions"]} if is_news else {}

    async def until(self, kind, reason=""):
        async def holds():
            found = (await self.conditions()).get(kind)
            return found if found and found["status"] == "True" and reason in ("", found["reason"]) else None

        try:
            return await until(holds, seconds=SECONDS, every=0.05)
        except TimeoutError:
            raise AssertionError(await self.conditions()) from None

    async def events(self):
        listing = await self.client.list("v1", "Event", self.releases.namespace, fields="involvedObject.kind=Hub")
        return {one["reason"]: one for one in listing.items}


@pytest.fixture
async def chart(releases, tmp_path):
    chart = Chart(releases, tmp_path / "mounted")
    await chart.define()
    await chart.set(config_text())
    return chart


async def hub_says(releases):
    hub = await releases.get("apps/v1", "Deployment", "hub")
    return {one["name"]: one.get("value") for one in hub["spec"]["template"]["spec"]["containers"][0]["env"]}[
        "BEHAVIOUR"
    ]


async def edit(releases, patch, *, name="hub", kind="strategic", manager="kubectl-edit", subresource=""):
    ref = Ref("apps/v1", "Deployment", name, releases.namespace)
    await releases.client.patch(ref, patch, kind=kind, manager=manager, subresource=subresource)


EDITED = {"spec": {"template": {"spec": {"containers": [{"name": "hub", "image": "perijove:edited"}]}}}}


async def test_what_others_edit_or_delete_is_put_back_within_seconds(chart, releases):
    async with chart.running():
        await chart.until("Ready", "Deployed")
        assert (chart.directory / "ready").exists()
        service = await releases.get("v1", "Service", "hub")
        await releases.client.delete(Ref.of(service))
        await until(lambda: releases.find("v1", "Service", "hub"), seconds=SECONDS)
        await edit(releases, EDITED)

        async def is_back():
            hub = await releases.get("apps/v1", "Deployment", "hub")
            return hub["spec"]["template"]["spec"]["containers"][0]["image"] == "quay.io/perijove/perijove:test"

        await until(is_back, seconds=SECONDS)
        await until(lambda: said(chart, "Repaired"), seconds=SECONDS)
        await chart.until("Ready", "Deployed")


async def said(chart, reason):
    return (await chart.events()).get(reason)


async def test_values_that_cannot_be_used_are_named_and_what_was_deployed_goes_on(chart, releases):
    """Key, line and remedy in a condition and an Event; what others delete meanwhile is put back all the same."""
    async with chart.running():
        await chart.until("Ready")
        await chart.set("hub:\n  replica: 2\n")
        stalled = await chart.until("Stalled", "ValuesInvalid")
        assert "values.yaml:2:" in stalled["message"]
        assert "hub.replica" in stalled["message"]
        assert str(chart.directory) not in stalled["message"]
        assert not (chart.directory / "ready").exists()
        event = await until(lambda: said(chart, "ValuesInvalid"), seconds=SECONDS)
        assert (event["type"], "hub.replica" in event["message"]) == ("Warning", True)
        await releases.client.delete(Ref("v1", "Service", "hub", releases.namespace))
        await until(lambda: releases.find("v1", "Service", "hub"), seconds=SECONDS)
        await chart.set(config_text(hub="other"))
        await chart.until("Ready")
        assert await hub_says(releases) == "other"


async def test_a_version_that_does_not_come_up_gives_way_to_the_one_before_and_is_tried_again_when_told(
    chart, releases
):
    async with chart.running():
        await chart.until("Ready")
        await chart.set(config_text(hub="crash"))
        stalled = await chart.until("Stalled", "RolloutFailed")
        assert "Deployment hub does not come up" in stalled["message"]
        assert await hub_says(releases) == ""
    history = releases.deployment().history(RELEASE)
    tried = len(await history.all())
    async with chart.running():
        # Another life of the pod: it knows.
        await releases.client.delete(Ref("v1", "Service", "hub", releases.namespace))
        await until(lambda: releases.find("v1", "Service", "hub"), seconds=SECONDS)
        await chart.until("Stalled", "RolloutFailed")
        assert len(await history.all()) == tried
        await chart.client.patch(chart.ref, {"metadata": {"annotations": {RETRY: "1"}}}, manager="kubectl")

        async def is_tried():
            return len(await history.all()) > tried

        await until(is_tried, seconds=SECONDS)


async def test_an_autoscaler_keeps_its_replicas_and_new_values_arrive_all_the_same(chart, releases):
    async with chart.running():
        await chart.until("Ready")
        scale = {"spec": {"replicas": 3}}
        await edit(releases, scale, name="proxy", kind="merge", manager="kube-controller-manager", subresource="scale")
        await chart.set(config_text(hub="other"))
        conflict = await chart.until("Conflict", "FieldsLeft")
        assert "Deployment proxy: its replicas are left to kube-controller-manager" in conflict["message"]
        await chart.until("Ready")
        assert (await releases.get("apps/v1", "Deployment", "proxy"))["spec"]["replicas"] == 3
        assert await hub_says(releases) == "other"


async def test_a_field_that_somebody_applied_is_not_fought_for(chart, releases):
    """It is said who has it; nothing is changed until it is given up."""
    async with chart.running():
        await chart.until("Ready")
        theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hub"}}
        ports = [{"name": "hub", "port": 8081, "targetPort": 9999}]
        await releases.apply({**theirs, "spec": {"ports": ports}}, manager="argocd-controller")
        degraded = await chart.until("Degraded", "Blocked")
        assert "is managed by argocd-controller" in degraded["message"]
        assert (await releases.get("v1", "Service", "hub"))["spec"]["ports"][0]["targetPort"] == 9999


async def test_of_two_controllers_one_works_and_the_other_goes_on_when_it_ends(chart, releases):
    async with chart.running() as first:
        await chart.until("Ready")
        async with chart.running() as second:
            await chart.set(config_text(hub="other"))
            await chart.until("Ready")
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await chart.set(config_text(hub="third"))
            await chart.until("Ready")
            assert not second.done()
    assert await hub_says(releases) == "third"


async def test_a_person_and_the_controller_refuse_each_others_releases(chart, releases):
    async with chart.running():
        await chart.until("Ready")
        with pytest.raises(OtherDeployer, match="would undo this"):
            await releases.deploy(config_text(hub="mine"))


async def test_a_release_of_a_person_is_left_alone_until_it_is_handed_over(chart, releases):
    await releases.deploy(config_text(hub="mine"), release=RELEASE)
    async with chart.running():
        degraded = await chart.until("Degraded", "OtherDeployer")
        assert "kubectl -n jhub patch configmap perijove-jhub" in degraded["message"]
        assert await hub_says(releases) == "mine"
        ref = Ref("v1", "ConfigMap", f"perijove-{RELEASE}", releases.namespace)
        await releases.client.patch(ref, {"data": {"deployer": "controller"}}, manager="kubectl")
        await chart.until("Ready")
    assert await hub_says(releases) == ""


async def test_trouble_of_the_server_is_sat_out(chart, cluster):
    """429, 500, 503, silence and lost answers, all over one deployment."""
    faults = cluster.fake.server.faults
    met = [
        faults.answer(429, times=4, retry_after=0, verb="patch"),
        faults.answer(500, times=4, verb="patch", resource="services"),
        faults.answer(503, times=4, verb="list"),
        faults.answer(504, times=2, verb="get"),
        faults.hang(times=1, verb="patch", resource="deployments"),
        faults.drop(times=2, after=True, verb="patch", resource="deployments"),
        faults.drop(times=2, after=True, verb="create"),
        faults.answer(500, times=2, verb="patch", resource="hubs/status"),
    ]
    async with chart.running():
        await chart.until("Ready")
    assert [fault.exhausted for fault in met] == [True] * len(met)


class Killed(BaseException):
    """The process is gone: nothing it does from here on reaches the cluster."""


async def test_a_controller_killed_anywhere_is_continued_by_the_next(chart, releases, monkeypatch):
    """Before a write and after it, early and late, between two versions; the next one ends where it would have."""
    texts = [config_text(), config_text(hub="other")]
    for turn, writes in enumerate((0, 2, 3, 7, 15, 18)):
        await chart.set(texts[turn % 2])
        hub = await chart.client.get(chart.ref)
        async with open_client(kubeconfig=releases.target.kubeconfig, patience=QUICK) as client:
            request, left = client.transport.request, [writes]

            async def counted(method, path, *, query=None, request=request, left=left, after=turn % 3 == 0, **more):
                is_write = method != "GET" and "dryRun" not in (query or {})
                left[0] -= is_write
                if left[0] < 0 and not (after and is_write and left[0] == -1):
                    raise Killed
                answer = await request(method, path, query=query, **more)
                if left[0] < 0:
                    raise Killed
                return answer

            client.transport.request = counted
            with monkeypatch.context() as patch:
                # A process of this machine that is no more: no number of a process is this high.
                patch.setattr("perijove.deploy.lock.process_number", lambda: 4194305)
                with pytest.raises(Killed):
                    await chart.attempts(client).make(hub)
        outcome = await chart.attempts(chart.client).make(hub)
        assert outcome.situation.reason == "Deployed", outcome.situation
        assert await hub_says(releases) == ("other" if turn % 2 else "")
        states = [one.state for one in await releases.deployment().history(RELEASE).all()]
        assert (states.count(State.DEPLOYED), states.count(State.PENDING)) == (1, 0)
