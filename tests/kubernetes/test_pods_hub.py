"""A hub with a z2jh config.yaml and a stock KubeSpawner: servers in pods, reached through our proxy."""

import asyncio
import json
import secrets
from dataclasses import dataclass

import pytest

from perijove.cli.listening import free_port
from perijove.testing.hub import config_for_tests, write_config
from perijove.testing.kube.notebooks import NOTEBOOKS, quick_notebooks
from perijove.testing.kube.stories import Pods
from perijove.testing.stand import Stand
from perijove.testing.waiting import until

CONFIG = {
    "hub": {
        "allowNamedServers": True,
        "config": {
            "JupyterHub": {"authenticator_class": "dummy"},
            "Authenticator": {"allow_all": True, "admin_users": ["admin"]},
        },
    },
    "singleuser": {
        "image": {"name": "quay.io/jupyterhub/k8s-singleuser-sample", "tag": "4.2.0"},
        "cloudMetadata": {"blockWithIptables": False},
        "startTimeout": 60,
        "storage": {"capacity": "1Gi"},
        "profileList": [
            {"display_name": "Small", "slug": "small", "default": True},
            {
                "display_name": "Big",
                "slug": "big",
                "kubespawner_override": {"extra_labels": {"size": "big"}, "environment": {"SIZE": "big"}},
            },
            {
                "display_name": "Broken",
                "slug": "broken",
                "kubespawner_override": {"image": "registry.invalid/lab:1"},
            },
        ],
    },
}
SECONDS = 60


@dataclass
class InCluster(Stand):
    """Its hubs think that they are pods of a cluster, and have the rights that the release gives them."""

    kubeconfig: str = ""
    namespace: str = ""

    def _run(self, arguments, log, extra):
        if arguments[0] == "hub":
            arguments = [*arguments, "--target", "kubernetes"]
            extra = {**extra, "KUBECONFIG": self.kubeconfig, "POD_NAMESPACE": self.namespace}
        return super()._run(arguments, log, extra)

    async def starts(self, user, server="", **options):
        await self.api("POST", f"/users/{user}")
        path = f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"
        status, answer = await self.api("POST", path, options)
        assert status in (201, 202), answer
        return await self.end_of_progress(user, server)

    async def answers(self, user, server=""):
        """The server's own API, through the proxy, with the rights of the caller's token."""
        path = f"{self.url}user/{user}/{server}/api/status" if server else f"{self.url}user/{user}/api/status"
        async with self.browser() as browser:
            headers = {"Authorization": f"token {self.token}"}
            response, text = await browser.get(path, headers=headers)
            return json.loads(text) if response.status == 200 else None

    def told(self, user):
        """What the events of a server say, oldest first."""
        with self._database() as connection:
            rows = connection.execute(
                "SELECT event FROM server_events e JOIN servers s ON s.id = e.server_id "
                "JOIN users u ON u.id = s.user_id WHERE u.name = ? ORDER BY e.id",
                (user,),
            )
            return [json.loads(event)["message"] for (event,) in rows]

    def make_chores_due(self):
        with self._database() as connection:
            connection.execute("UPDATE leases SET done = NULL")

    async def stops(self, user, server=""):
        path = f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"
        status, answer = await self.api("DELETE", path)
        assert status in (202, 204), answer
        await until(lambda: self.row(user, server)["observed"] == "stopped", seconds=SECONDS, every=0.05)


@pytest.fixture
async def stand(cluster, tmp_path, rendered, grant):
    assert cluster.fake, "its pods reach a hub on this machine"
    cluster.fake.kubelet.images.known |= quick_notebooks(cluster.fake.directory / "notebooks")
    manifests, _ = rendered(json.dumps(CONFIG))
    await grant(manifests)
    account = await cluster.as_account("hub")
    token, port = secrets.token_hex(16), free_port()
    own = {"hub": {"config": {"JupyterHub": {"hub_connect_url": f"http://127.0.0.1:{port}"}}}}
    files = [
        write_config(tmp_path / "config.yaml", CONFIG),
        write_config(tmp_path / "testing.yaml", config_for_tests(token, "/", homes=tmp_path / "homes")),
        write_config(tmp_path / "stand.yaml", own),
    ]
    stand = InCluster(tmp_path, files, [free_port()], port, token, secrets.token_hex(8))
    stand.kubeconfig, stand.namespace = str(account.kubeconfig), cluster.namespace
    try:
        stand.start_proxy()
        yield stand
    finally:
        await asyncio.to_thread(stand.end)
    assert [str(one) for one in cluster.fake.server.log.find(status=403)] == []


@pytest.fixture
def pods(cluster):
    return Pods(cluster)


async def test_a_server_in_a_pod_is_started_reached_survives_its_hub_and_is_stopped(stand, pods, cluster):
    cluster.fake.kubelet.images.known |= NOTEBOOKS
    hub = await stand.hub()
    last = await stand.starts("ann")
    assert last.get("ready"), (last, hub.log)
    assert "started" in await until(lambda: stand.answers("ann"), seconds=SECONDS, every=0.1)
    claim = await cluster.core.read_namespaced_persistent_volume_claim("claim-ann", cluster.namespace)
    assert claim.status.phase == "Bound"
    before = await pods.read("jupyter-ann")
    assert before.metadata.labels["perijove.io/generation"] == "1"

    hub.kill()
    await stand.hub()
    assert await until(lambda: stand.answers("ann"), seconds=SECONDS, every=0.1)
    assert (await pods.read("jupyter-ann")).metadata.uid == before.metadata.uid

    await stand.stops("ann")
    assert await pods.find("jupyter-ann") is None


async def test_a_named_server_of_a_profile_runs_beside_the_default_one(stand, pods):
    hub = await stand.hub()
    assert (await stand.starts("bob", "gpu", profile="big")).get("ready"), hub.log
    name = "jupyter-bob--gpu"
    found = await pods.read(name)
    assert found.metadata.labels["size"] == "big"
    assert {"SIZE": "big"}.items() <= {one.name: one.value for one in found.spec.containers[0].env}.items()
    assert await until(lambda: stand.answers("bob", "gpu"), seconds=SECONDS, every=0.1)


async def test_what_the_user_and_the_admin_read_of_a_failed_start(stand):
    await stand.hub()
    last = await stand.starts("eve", profile="broken")
    assert last["failed"]
    assert "The server's image cannot be pulled: registry.invalid/lab:1" in last["message"]
    failure = json.loads(stand.row("eve")["failure"])
    assert failure["reason"] == "image"
    assert "Back-off pulling image" in failure["details"]


async def test_a_pod_deleted_by_hand_is_noticed_and_told_within_seconds(stand, pods):
    await stand.hub()
    assert (await stand.starts("dan"))["ready"]
    await pods.delete("jupyter-dan", grace_period_seconds=0)
    await until(lambda: stand.row("dan")["observed"] == "stopped", seconds=8, every=0.05)
    row = stand.row("dan")
    assert row["desired"] == "stopped"
    failure = json.loads(row["failure"])
    assert failure["message"] == "The server's pod was deleted by somebody else than the hub."


async def test_a_server_restarted_in_its_pod_stays_and_says_so_once(stand, pods, cluster):
    hub = await stand.hub()
    assert (await stand.starts("hal"))["ready"]
    cluster.fake.kubelet.kill_for_memory(cluster.namespace, "jupyter-hal")

    def said():
        return [one for one in stand.told("hal") if "more memory than its limit" in one]

    assert len(await until(said, seconds=8, every=0.05)) == 1
    assert "server had a mishap" in hub.log
    assert await until(lambda: stand.answers("hal"), seconds=SECONDS, every=0.1)
    assert stand.row("hal")["observed"] == "running"
    assert len(said()) == 1


async def test_a_pod_of_the_hub_before_is_noticed_as_fast_as_ours(stand, pods, cluster):
    """After a take-over: without our labels, as z2jh's KubeSpawner made it."""
    await stand.hub()
    assert (await stand.starts("ida"))["ready"]
    ours = ("hub", "server", "generation", "epoch")
    labels = {"metadata": {"labels": {f"perijove.io/{one}": None for one in ours}}}
    await cluster.core.patch_namespaced_pod("jupyter-ida", cluster.namespace, labels)
    await pods.delete("jupyter-ida", grace_period_seconds=0)
    await until(lambda: stand.row("ida")["observed"] == "stopped", seconds=8, every=0.05)
    assert json.loads(stand.row("ida")["failure"])["reason"] == "deleted"


async def test_a_hub_restarted_while_an_image_cannot_be_pulled_ends_that_start_too(stand, pods, cluster):
    """The image is held back until nobody is there to see that it does not come."""
    release = cluster.fake.kubelet.images.held["registry.invalid/*"] = asyncio.Event()
    hub = await stand.hub()
    await stand.api("POST", "/users/jon")
    await stand.api("POST", "/users/jon/server", {"profile": "broken"})
    await until(lambda: pods.find("jupyter-jon"), seconds=SECONDS)
    await pods.until_event("Pulling", "jupyter-jon")
    hub.kill()
    release.set()
    await pods.until_waiting("ImagePullBackOff", "jupyter-jon")
    stand.expire_leases()
    await stand.hub()
    failure = await until(lambda: json.loads(stand.row("jon")["failure"]), seconds=60, every=0.1)
    assert failure["reason"] == "image"
    assert stand.row("jon")["observed"] == "stopped"
    assert await pods.find("jupyter-jon") is None


async def test_a_hub_killed_between_the_pod_and_its_row_leaves_one_pod_to_the_next(stand, pods, cluster):
    hub = await stand.hub(kill_at="start.spawned")
    await stand.api("POST", "/users/fay")
    await stand.api("POST", "/users/fay/server")
    await hub.killed_itself(seconds=SECONDS)
    assert await pods.find("jupyter-fay")
    stand.expire_leases()
    await stand.hub()
    assert await until(lambda: stand.answers("fay"), seconds=SECONDS, every=0.1)
    found = await cluster.core.list_namespaced_pod(cluster.namespace, label_selector="component=singleuser-server")
    assert [one.metadata.name for one in found.items] == ["jupyter-fay"]


async def test_old_and_new_names_of_volumes_work_side_by_side_until_their_users_are_deleted(stand, cluster):
    """A user of a release that z2jh made, whose new hub knows nothing of her, finds her files."""
    old, ann, new = "claim-miksch-40win-2edtu-2edk", "miksch@win.dtu.dk", "new@win.dtu.dk"
    claims = Claims(cluster)
    await claims.make(old, ann)
    hub = await stand.hub()
    volumes = {}
    for user in (ann, new):
        last = await stand.starts(user)
        assert last.get("ready"), (last, hub.log)
        _, [volumes[user]] = await stand.api("GET", f"/users/{user}/storage")
        assert volumes[user]["used_by"]
        assert json.loads(stand.row(user)["state"])["pvc_name"] == volumes[user]["name"]
    assert volumes[ann]["name"] == old
    assert volumes[new]["name"].startswith("claim-new-win-dtu-dk---")
    assert await claims.names() == {volume["name"] for volume in volumes.values()}
    status, answer = await stand.api("DELETE", f"/users/{ann}/storage/{old}")
    assert (status, old in answer["message"]) == (409, True)
    status, _ = await stand.api("DELETE", f"/users/{ann}")
    assert status == 204
    await until(lambda: claims.are({volumes[new]["name"]}), seconds=SECONDS, every=0.05)
    await stand.stops(new)
    status, _ = await stand.api("DELETE", f"/users/{new}/storage/{volumes[new]['name']}")
    assert status == 202
    await until(lambda: claims.are(set()), seconds=SECONDS, every=0.05)


class Claims:
    def __init__(self, cluster):
        self.core, self.namespace = cluster.core, cluster.namespace

    async def make(self, name, user):
        metadata = {"name": name, "annotations": {"hub.jupyter.org/username": user}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        body = {"metadata": metadata, "spec": spec}
        await self.core.create_namespaced_persistent_volume_claim(self.namespace, body)

    async def names(self):
        found = await self.core.list_namespaced_persistent_volume_claim(self.namespace)
        return {claim.metadata.name for claim in found.items}

    async def are(self, names):
        return await self.names() == names


async def test_a_pod_that_no_row_wants_is_swept(stand, pods):
    await stand.hub()
    assert (await stand.starts("guy"))["ready"]
    stand.forget_servers()
    stand.make_chores_due()
    await pods.until_gone("jupyter-guy", seconds=SECONDS)
