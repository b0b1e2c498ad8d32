"""What a deploy would do, object by object, for every answer that the server may give to the dry run."""

import pytest

from perijove.deploy import names
from perijove.deploy.errors import Blocked
from perijove.deploy.inventory import Inventory
from perijove.deploy.plan import Action, Rights, Step, marked, plan
from perijove.kube.client import Written
from perijove.kube.errors import FieldConflict, HeldField, KindUnknown, NotPermitted, ObjectInvalid, ObjectNotFound
from perijove.kube.refs import Ref
from perijove.testing.shelf import Shelf

OURS = {"manager": names.MANAGER, "operation": "Apply"}
HELMS = {"manager": "helm", "operation": "Update"}
EDITED = {"manager": "kubectl-edit", "operation": "Update"}
ARGOS = {"manager": "argocd", "operation": "Apply"}
TAKE_OVER, UNDO = Rights(take_over=True), Rights(undo_edits=True)


def thing(kind="Deployment", name="hub", *, managed=(), namespace="jhub", annotations=None, **spec):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    if managed:
        metadata["managedFields"] = list(managed)
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}


def known(*things):
    return Inventory(namespace="jhub", release="jhub", objects=tuple(map(Ref.of, things)))


def answers(*outcomes):
    """One after another, then whatever is applied."""
    left = list(outcomes)

    def judge(manifest, _force):
        outcome = left.pop(0) if left else manifest
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, Written) else Written(outcome)

    return judge


def conflict(manager, field=".spec.template"):
    return FieldConflict("conflict", conflicts=[HeldField(field, manager)])


async def steps(manifest, *outcomes, before=None, rights=None, inventory=None):
    shelf = Shelf(judge=answers(*outcomes))
    if before is not None:
        shelf.put(before)
    found = await plan(shelf, [manifest], inventory or known(), rights or Rights())
    assert shelf.written == [], "planning writes nothing"
    return found


async def step(*words, **more):
    return (await steps(*words, **more)).steps[0]


async def blocked(*words, **more):
    with pytest.raises(Blocked) as caught:
        await steps(*words, **more)
    return caught.value


async def test_what_is_not_there_is_made_and_what_is_the_same_is_kept():
    found = await steps(thing())
    assert (found.steps[0].action, found.is_nothing) == (Action.CREATE, False)
    kept = await steps(thing(), before=thing(managed=[OURS]))
    assert (kept.steps[0].action, kept.steps[0].diff, kept.is_nothing) == (Action.KEEP, "", True)
    changed = await step(thing(replicas=2), before=thing(replicas=1))
    assert changed.action is Action.CHANGE
    assert "+  replicas: 2" in changed.diff


async def test_in_a_new_namespace_nothing_is_asked():
    found = await plan(Shelf(judge=answers(KindUnknown("no"))), [thing()], known(), Rights(), new_namespace=True)
    assert [one.action for one in found.steps] == [Action.CREATE]
    assert "+kind: Deployment" in found.steps[0].diff


async def test_warnings_are_told_once_and_with_their_object():
    warned = Written(thing(), ("deprecated", "deprecated"))
    assert (await steps(thing(), warned)).warnings == ("Deployment hub: deprecated",)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (KindUnknown("no such kind", remedy="Install it."), "no such kind"),
        (NotPermitted("may not", remedy="Ask for it."), "may not"),
        (ObjectNotFound("namespace not found"), "namespace not found"),
        (ObjectInvalid("replicas: must be a number"), "replicas: must be a number"),
    ],
)
async def test_what_the_server_refuses_is_an_obstacle_in_its_words(refusal, words):
    caught = await blocked(thing(), refusal)
    assert f"Deployment hub: {words}" in str(caught)
    assert caught.remedy == refusal.remedy


async def test_all_obstacles_are_told_at_once_and_in_order():
    shelf = Shelf(judge=answers(NotPermitted("b"), NotPermitted("a")))
    with pytest.raises(Blocked) as caught:
        await plan(shelf, [thing(name="b"), thing(name="a")], known(), Rights())
    assert [one.ref.name for one in caught.value.obstacles] == ["a", "b"]


NEVER = ObjectInvalid("spec.selector: field is immutable")


@pytest.mark.parametrize(("kind", "action"), [("Job", Action.REPLACE), ("PersistentVolumeClaim", Action.LEAVE)])
async def test_a_field_that_can_never_change_costs_what_holds_nothing_and_leaves_what_holds_work(kind, action):
    found = await step(thing(kind, a=1), NEVER, before=thing(kind))
    assert found.action is action
    assert bool(found.note) is (action is Action.LEAVE)
    assert bool(found.diff) is (action is Action.REPLACE)


async def test_a_field_that_can_never_change_stops_the_deploy_elsewhere():
    assert "Change the configuration back" in (await blocked(thing(), NEVER, before=thing())).remedy
    assert "must be" in str(await blocked(thing(), ObjectInvalid("must be"), before=thing()))


async def test_what_makes_no_sense_with_helms_fields_will_without_them():
    found = await step(thing(), ObjectInvalid("both set"), before=thing(managed=[HELMS]), rights=TAKE_OVER)
    assert (found.action, found.managers, found.after) == (Action.CHANGE, {"helm"}, None)


async def test_fields_of_others_are_not_taken_without_a_right():
    helms = await blocked(thing(), conflict("helm"), before=thing(managed=[HELMS]))
    assert ".spec.template is managed by helm" in str(helms)
    assert "--take-over" in helms.remedy
    argos = await blocked(thing(), conflict("argocd"), before=thing(managed=[ARGOS]))
    assert "--force-conflicts" in argos.remedy


async def test_a_take_over_takes_from_whoever_has_it_what_was_never_ours():
    before = thing(managed=[HELMS, EDITED])
    found = await step(thing(), conflict("kubectl-edit"), before=before, rights=TAKE_OVER)
    assert (found.action, found.managers) == (Action.CHANGE, {"helm", "kubectl-edit"})
    await blocked(thing(), conflict("argocd"), before=thing(), rights=TAKE_OVER, inventory=known(thing()))


async def test_the_controller_undoes_edits_and_leaves_what_was_declared():
    found = await step(thing(), conflict("kubectl-edit"), before=thing(managed=[OURS, EDITED]), rights=UNDO)
    assert found.managers == {"kubectl-edit"}
    await blocked(thing(), conflict("argocd"), before=thing(managed=[ARGOS]), rights=UNDO)
    await blocked(thing(), conflict("kubectl-edit"), rights=UNDO)


async def test_an_autoscaler_keeps_its_replicas():
    before = thing(managed=[{**ARGOS, "manager": "hpa"}], replicas=3)
    held = conflict("hpa", ".spec.replicas")
    found = await steps(thing(replicas=1, a=1), held, before=before, rights=UNDO)
    assert found.steps[0].manifest["spec"] == {"a": 1}
    assert found.warnings == ("Deployment hub: its replicas are left to hpa",)
    await blocked(thing(a=1), held, before=before, rights=UNDO)


@pytest.mark.parametrize("key", [names.NAMESPACE, names.HELM_NAMESPACE])
async def test_what_belongs_to_the_whole_cluster_may_be_another_releases(key):
    before = thing("ClusterRole", namespace="", annotations={key: "other"})
    caught = await blocked(thing("ClusterRole", namespace=""), before=before)
    assert "release of the same name in the namespace other" in str(caught)
    assert "--release" in caught.remedy
    mine = thing("ClusterRole", namespace="", annotations={key: "jhub"})
    assert (await step(thing("ClusterRole", namespace=""), before=mine)).action is Action.CHANGE


def test_what_belongs_to_the_whole_cluster_says_for_which_release():
    assert marked(thing(), "jhub") == thing()
    role = thing("ClusterRole", namespace="", annotations={"a": "b"})
    assert marked(role, "jhub")["metadata"]["annotations"] == {"a": "b", names.NAMESPACE: "jhub"}


async def test_of_what_is_no_longer_asked_for_only_ours_goes_and_never_what_holds_work():
    gone, there = thing(name="gone"), thing("Service", "old", managed=[OURS])
    keep = thing(name="keep", managed=[OURS], annotations={names.KEEP: "true"})
    helms = thing(name="helm", managed=[OURS], annotations={names.HELM_KEEP: "keep"})
    claim, others = thing("PersistentVolumeClaim", "data", managed=[OURS]), thing(name="others")
    kindless = thing("HTTPProxy", "p")
    shelf = Shelf(unseen={Ref.of(kindless): KindUnknown("no such kind")})
    shelf.put(there, keep, helms, claim, others)
    found = await plan(shelf, [], known(gone, there, keep, helms, claim, others, kindless), Rights())
    assert found.prune == (Ref.of(there),)
    assert set(found.kept) == set(map(Ref.of, (keep, helms, claim, others)))
    assert not found.is_nothing


def test_a_step_that_leaves_an_object_shows_no_difference():
    assert Step(Ref.of(thing()), Action.LEAVE, thing(a=1), thing()).diff == ""
