"""What a deploy leaves behind and finds again: the inventory, its history, a release that is there, pulled images."""

import pytest

from perijove.config import load
from perijove.deploy import existing, images, names
from perijove.deploy.apply import Applier
from perijove.deploy.errors import DeployFailed, ReleaseUnclear, RolloutFailed
from perijove.deploy.history import History, State
from perijove.deploy.inventory import Inventory, inventories
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Written
from perijove.kube.errors import KindUnknown, NotPermitted
from perijove.kube.refs import Ref
from perijove.testing.clock import VirtualClock
from perijove.testing.deploying import Told
from perijove.testing.shelf import Shelf


def thing(kind="ConfigMap", name="hub", *, api="v1", namespace="jhub", labels=None, annotations=None, **more):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    metadata |= {key: value for key, value in (("labels", labels), ("annotations", annotations)) if value}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


@pytest.fixture
def shelf():
    return Shelf()


# -- the inventory


async def test_an_inventory_is_read_as_it_was_saved(shelf):
    refs = (Ref("v1", "Secret", "hub", "jhub"), Ref("v1", "ClusterRole", "jhub-hub"))
    saved = await Inventory(namespace="jhub", release="jhub", objects=refs, deployer="controller").save(shelf)
    assert saved.exists
    assert await Inventory.load(shelf, "jhub", "jhub") == saved
    assert await inventories(shelf, "jhub") == [saved]
    assert not (await Inventory.load(shelf, "jhub", "other")).exists
    bare = {**saved.manifest(), "data": None}
    assert (Inventory.read(bare).objects, Inventory.read(bare).deployer) == ((), "person")


def test_of_two_versions_of_an_object_the_inventory_has_the_newest():
    old, new = Ref("batch/v1beta1", "CronJob", "a", "jhub"), Ref("batch/v1", "CronJob", "a", "jhub")
    other = Ref("v1", "Secret", "hub", "jhub")
    merged = Inventory(namespace="jhub", release="jhub", objects=(old, other)).adding([new])
    assert merged.objects == (new, other)
    assert merged.missing_from([old]) == [other]


# -- the history


@pytest.fixture
def history(shelf):
    return History(client=shelf, namespace="jhub", release="jhub", by="ada", clock=VirtualClock())


async def test_the_same_manifests_are_the_same_revision_and_others_a_new_one(history):
    first = await history.begin([thing()], "first")
    assert (first.number, first.state, first.by, first.note) == (1, State.PENDING, "ada", "first")
    assert first.manifests == [thing()]
    assert (await history.begin([thing()], "again")).number == 1
    await history.settle(first)
    assert (await history.begin([thing()], "again")).number == 1
    second = await history.begin([thing(name="other")], "second")
    third = await history.begin([], "third")
    told = [(one.number, one.state, one.message) for one in await history.all()]
    assert told == [(3, State.PENDING, ""), (2, State.FAILED, "interrupted"), (1, State.DEPLOYED, "")]
    await history.mark(second, State.FAILED, "x" * 9000)
    assert len((await history.all())[1].message) == 4000
    await history.settle(third)
    assert [one.state for one in await history.all()] == [State.DEPLOYED, State.FAILED, State.SUPERSEDED]


async def test_a_creation_whose_answer_was_lost_is_found(history, shelf):
    lost = await history.begin([], "lost")
    listed = shelf.list

    async def nothing_yet(*words, **more):
        return type(await listed(*words, **more))([], "1")

    shelf.list = nothing_yet
    assert (await history.begin([], "again")).item is lost.item


async def test_how_things_were_before_is_a_revision_that_came_up(history):
    assert (await history.remember([], "before")).state is State.DEPLOYED
    assert (await history.remember([], "before")).number == 2


async def test_ten_are_kept_and_the_last_good_one_however_old(history):
    good = await history.begin([thing(name="good")], "")
    await history.settle(good)
    for number in range(12):
        await history.mark(await history.begin([thing(name=f"bad-{number}")], ""), State.FAILED, "no")
    newest = await history.begin([thing(name="newest")], "")
    await history.settle(newest)
    assert [one.number for one in await history.all()] == [*range(14, 4, -1), 1]


async def test_a_revision_without_a_word_about_itself_is_one_that_failed(history, shelf):
    shelf.put(thing("Secret", "x", labels={**names.labels("jhub", names.REVISION), names.REVISION_LABEL: "4"}))
    assert [(one.number, one.state) for one in await history.all()] == [(4, State.FAILED)]


# -- what is there


def hub(release):
    return thing("Deployment", f"hub-{release}", api="apps/v1", labels={"component": "hub", "release": release})


async def test_the_release_that_is_there_is_found_whoever_made_it(shelf):
    assert await existing.find_release(shelf, "jhub", None) is None
    assert await existing.find_release(shelf, "jhub", "mine") is None
    shelf.put(hub("old"))
    assert await existing.find_release(shelf, "jhub", None) == "old"
    assert await existing.find_release(shelf, "jhub", "old") == "old"
    with pytest.raises(ReleaseUnclear, match="holds the release old, not mine"):
        await existing.find_release(shelf, "jhub", "mine")
    await Inventory(namespace="jhub", release="new").save(shelf)
    with pytest.raises(ReleaseUnclear, match="several releases: new, old"):
        await existing.find_release(shelf, "jhub", None)


async def test_secrets_and_pulled_images_of_before_are_taken_on(shelf, tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    loaded = load([tmp_path / "config.yaml"])
    shelf.put(
        thing("ConfigMap", data={"checksum_hook-image-puller": "abc"}),
        thing("Secret", data={"hub.config.CryptKeeper.keys": "bmV3"}),
        thing("Secret", "hub-secret", data={"hub.cookie-secret": "b2xk", "proxy.token": "dG9rZW4="}),
    )
    found = await existing.read(shelf, loaded, "jhub", None)
    assert (found.release.name, found.release.pulled_images) == ("jhub", "abc")
    assert (found.secrets.crypt_keys, found.secrets.auth_token) == ("new", "token")
    assert (await existing.read(shelf, loaded, "jhub", "lab", image="mine:1")).release.image == "mine:1"
    shelf.put(thing("Secret", data={"hub.config.CryptKeeper.keys": "*"}))
    with pytest.raises(DeployFailed, match="the release jhub cannot be deployed over"):
        await existing.read(shelf, loaded, "jhub", None)


HELM = {names.HELM_RELEASE: "jhub", names.HELM_NAMESPACE: "jhub"}


@pytest.mark.parametrize(
    ("item", "is_helms"),
    [
        (thing(annotations=HELM), True),
        (thing(annotations={names.HELM_RELEASE: "jhub"}), True),
        (thing(annotations={**HELM, names.HELM_NAMESPACE: "other"}), False),
        (thing(annotations={**HELM, names.HELM_RELEASE: "other"}), False),
        (thing("ClusterRole", namespace="", annotations=HELM), True),
        (thing("ClusterRole", namespace="", labels={"heritage": "Helm", "release": "jhub"}), False),
        (thing(labels={"heritage": "Tiller", "release": "jhub"}), True),
        (thing(labels={"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "jhub"}), True),
        (thing(labels={"heritage": "Helm", "release": "other"}), False),
        (thing(labels={"release": "jhub"}), False),
        (thing(labels={names.PART_LABEL: names.CHART}, annotations=HELM), False),
    ],
)
def test_what_helm_made_is_known_by_its_annotations_and_charts_labels(item, is_helms):
    assert existing.is_of_helm(item, "jhub", "jhub") is is_helms
    owned = {**item, "metadata": {**item["metadata"], "ownerReferences": [{"kind": "ReplicaSet"}]}}
    assert not existing.is_of_helm(owned, "jhub", "jhub")


async def test_what_helm_left_is_listed_with_what_could_not_be_looked_at(shelf):
    record = {"type": "helm.sh/release.v1"}
    mine = thing("Secret", "r1", labels={"name": "jhub"}, **record)
    helms = thing("Service", annotations=HELM)
    shelf.put(mine, thing("Secret", "r2", labels={"name": "other"}, **record), thing("Secret", "r3", **record), helms)
    shelf.put(thing("Service", "ours"))
    shelf.unseen = {"PriorityClass": NotPermitted("may not list"), "HTTPRoute": KindUnknown("unknown")}
    found = await existing.of_helm(shelf, "jhub", "jhub")
    assert (found.objects, found.records, found.unseen) == ((helms,), (mine,), ("PriorityClass: may not list",))
    assert found
    assert existing.obsolete(found, []) == [helms]
    assert existing.obsolete(found, [Ref.of(helms)]) == []
    assert not await existing.of_helm(Shelf(), "jhub", "jhub")


async def test_a_namespace_is_there_or_made_by_whoever_is_first(shelf):
    assert not await existing.namespace_exists(shelf, "jhub")
    for _ in range(2):
        await existing.make_namespace(shelf, "jhub")
        assert await existing.namespace_exists(shelf, "jhub")
    shelf.unseen[Ref("v1", "Namespace", "secret")] = NotPermitted("may not look")
    assert await existing.namespace_exists(shelf, "secret")


# -- pulling images first


class Held:
    """A lock that nobody takes."""

    def check(self):
        pass


def puller(*, account="puller", secret="registry"):
    spec = {"serviceAccountName": account, "imagePullSecrets": [{"name": secret}] if secret else None}
    return thing("DaemonSet", "hook-image-puller", api="apps/v1", spec={"template": {"spec": spec}})


class PullShelf(Shelf):
    async def delete(self, ref, *, uid="", propagation=""):
        return await super().delete(ref, uid=uid)


@pytest.fixture
def applier():
    return Applier(client=PullShelf(), lock=Held(), report=Told())


async def test_the_puller_comes_with_what_it_needs_and_is_gone_again(applier):
    before = [thing("ServiceAccount", "puller"), thing("ServiceAccount", "other"), thing("Job", "awaiter"), puller()]
    manifests = [thing("Secret", "registry"), thing("Secret", "hub"), thing("ConfigMap", "registry")]
    await images.pull(applier, Wishes(namespace="jhub", wait=False), before, manifests)
    kept = ["apply Secret registry", "apply ServiceAccount puller", "apply DaemonSet hook-image-puller"]
    assert applier.client.written == [*kept, "delete ServiceAccount puller", "delete DaemonSet hook-image-puller"]


async def test_without_a_puller_nothing_is_done(applier):
    await images.pull(applier, Wishes(namespace="jhub"), [thing("Job", "awaiter")], [])
    assert applier.client.written == []


async def test_a_puller_that_does_not_come_up_is_gone_too(applier, monkeypatch):
    async def never(self, refs):
        raise RolloutFailed("no such image")

    monkeypatch.setattr(images.Waiting, "until_up", never)
    with pytest.raises(RolloutFailed):
        await images.pull(applier, Wishes(namespace="jhub"), [puller(secret="")], [])
    assert list(applier.client.objects) == []


async def test_what_cannot_be_applied_is_named(applier):
    def refuse(manifest, _force):
        if manifest["kind"] == "DaemonSet":
            raise NotPermitted("may not make DaemonSets", remedy="Ask for it.")
        return Written(manifest)

    applier.client.judge = refuse
    with pytest.raises(DeployFailed, match="DaemonSet hook-image-puller cannot be applied") as caught:
        await images.pull(applier, Wishes(namespace="jhub"), [puller()], [])
    assert caught.value.remedy == "Ask for it."
