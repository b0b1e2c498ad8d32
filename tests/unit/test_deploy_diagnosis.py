"""Why a pod does not come up, from what the cluster says: each state of a real cluster, and its words."""

import pytest

from perijove.deploy import diagnosis


def pod(*containers, init=(), policy="Always", **status):
    found = {"initContainerStatuses": list(init), "containerStatuses": list(containers), **status}
    return {"metadata": {"name": "hub-1"}, "spec": {"restartPolicy": policy}, "status": found}


def container(state=None, *, restarts=0, ready=False, before=None, name="hub"):
    return {
        "name": name,
        "image": "hub:1",
        "state": state or {},
        "restartCount": restarts,
        "ready": ready,
        **({"lastState": {"terminated": before}} if before else {}),
    }


def waits(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


def warning(reason, message="", **times):
    return {"type": "Warning", "reason": reason, "message": message, **times}


RUNNING = {"running": {}}


def test_a_pod_that_is_ready_or_just_begins_has_no_trouble():
    assert diagnosis.of_pod({"metadata": {"name": "hub-1"}}) is None
    assert diagnosis.of_pod(pod(container(waits("ContainerCreating")))) is None
    assert diagnosis.of_pod(pod(container(RUNNING, ready=True, restarts=2, before={"exitCode": 1}))) is None
    assert diagnosis.of_pod(pod(phase="Failed")) is None
    conditions = [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}]
    assert diagnosis.of_pod(pod(container(RUNNING), conditions=conditions)) is None


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "hub-1: Evicted: low on memory"),
        ({"phase": "Failed", "reason": "Evicted"}, "hub-1: Evicted: no message"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3"}]},
            "hub-1: no node takes it: 0/3",
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "False"}]}, "hub-1: no node takes it: no reason given"),
    ],
)
def test_what_the_pod_itself_says_comes_first(status, line):
    assert diagnosis.of_pod(pod(container(waits("ErrImagePull")), **status)).line == line


@pytest.mark.parametrize(
    ("reason", "message", "hopeless"),
    [
        ("ErrImagePull", "manifest unknown", True),
        ("ImagePullBackOff", "Unauthorized", True),
        ("ErrImagePull", "i/o timeout", False),
        ("InvalidImageName", "", True),
    ],
)
def test_an_image_that_cannot_be_pulled_is_hopeless_only_where_another_try_would_find_the_same(
    reason, message, hopeless
):
    found = diagnosis.of_pod(pod(container(waits(reason, message))))
    assert (found.kind, found.hopeless) == ("image", hopeless)
    assert found.text == f"the image hub:1 of container hub cannot be pulled ({reason}): {message}"


def test_a_container_that_cannot_be_started_says_why():
    found = diagnosis.of_pod(pod(container(waits("CreateContainerConfigError", 'secret "x" not found'))))
    assert (found.kind, found.hopeless) == ("container", True)
    assert 'secret "x" not found' in found.text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (container({"terminated": {"exitCode": 3}}), "ended with exit code 3"),
        (container({"terminated": {"exitCode": 3, "reason": "Error"}}), "ended with exit code 3"),
        (container({"terminated": {"exitCode": 1, "reason": "StartError"}}), "ended with exit code 1 (StartError)"),
        (container({"terminated": {"exitCode": 1, "message": " no db "}}), "ended with exit code 1: no db"),
        (
            container(waits("CrashLoopBackOff"), restarts=1, before={"exitCode": 0, "reason": "Completed"}),
            "ended with exit code 0, restarted once",
        ),
        (
            container(waits("CrashLoopBackOff"), restarts=2, before={"exitCode": 137, "reason": "OOMKilled"}),
            "ended with OOMKilled: it needed more memory than its limit, restarted 2 times",
        ),
    ],
)
def test_a_container_that_ends_is_told_with_its_last_words_at_hand(status, text):
    found = diagnosis.of_pod(pod(status))
    assert (found.kind, found.text) == ("crash", f"container hub {text}")
    assert (found.wants_logs, found.previous_logs, found.hopeless) == ("hub", False, False)


def test_after_a_few_restarts_and_where_none_come_a_crash_is_hopeless():
    ended = {"exitCode": 1}
    assert diagnosis.of_pod(pod(container(RUNNING, restarts=3, before=ended))).hopeless
    assert diagnosis.of_pod(pod(container({"terminated": ended}), policy="Never")).hopeless
    assert diagnosis.of_pod(pod(container(RUNNING, restarts=1, before=ended))).previous_logs


def test_an_init_container_that_ended_well_is_no_trouble_and_one_that_failed_is():
    well = container({"terminated": {"exitCode": 0}}, name="init")
    assert diagnosis.of_pod(pod(container(waits("PodInitializing")), init=[well])) is None
    failed = container({"terminated": {"exitCode": 1}}, name="init")
    assert "container init" in diagnosis.of_pod(pod(container(waits("PodInitializing")), init=[failed])).text


def test_what_only_events_tell():
    """Volumes before the start, probes after it, sandboxes at any time; others and old ones say nothing."""
    creating, up = pod(container(waits("ContainerCreating"))), pod(container(RUNNING))
    mount, probe = warning("FailedMount", " no such volume "), warning("Unhealthy", "connection refused")
    assert diagnosis.of_pod(creating, [mount]).text == "FailedMount: no such volume"
    assert diagnosis.of_pod(up, [mount]) is None
    found = diagnosis.of_pod(up, [probe])
    assert (found.kind, found.wants_logs) == ("probe", "hub")
    assert found.text == "container hub does not answer: connection refused"
    assert diagnosis.of_pod(creating, [probe]) is None
    assert diagnosis.of_pod(pod(container(RUNNING, ready=True)), [probe]) is None
    assert diagnosis.of_pod(creating, [warning("FailedCreatePodSandBox", "no address")]).kind == "sandbox"
    assert diagnosis.of_pod(creating, [{"type": "Normal", "reason": "FailedMount"}]) is None
    assert diagnosis.of_pod(creating, [warning("SomethingElse")]) is None


def test_the_newest_event_is_the_cause():
    old = warning("FailedMount", "old", lastTimestamp="2026-01-01T00:00:00Z")
    new = warning("FailedAttachVolume", "new", series={"lastObservedTime": "2026-01-02T00:00:00Z"})
    assert diagnosis.of_pod(pod(container(waits("ContainerCreating"))), [old, new]).text == "FailedAttachVolume: new"


@pytest.mark.parametrize(
    ("event", "time"),
    [
        ({"series": {"lastObservedTime": "1"}, "lastTimestamp": "2"}, "1"),
        ({"lastTimestamp": "2", "eventTime": "3"}, "2"),
        ({"eventTime": "3", "metadata": {"creationTimestamp": "4"}}, "3"),
        ({"metadata": {"creationTimestamp": "4"}}, "4"),
        ({}, ""),
    ],
)
def test_an_events_time_is_its_latest(event, time):
    assert diagnosis.event_time(event) == time


@pytest.mark.parametrize(
    ("condition", "kind", "words"),
    [
        ({"message": "pods is forbidden: exceeded quota: small"}, "quota", "exceeded quota: small"),
        ({"message": "denied by a webhook"}, "admission", "denied by a webhook"),
        ({"reason": "FailedCreate"}, "admission", "FailedCreate"),
        ({}, "admission", "its pods cannot be made: "),
    ],
)
def test_pods_that_cannot_even_be_made(condition, kind, words):
    status = {"conditions": [{"type": "ReplicaFailure", "status": "True", **condition}]}
    found = diagnosis.of_workload({"metadata": {"name": "hub"}, "status": status})
    assert (found.pod, found.kind) == ("hub", kind)
    assert found.text.endswith(words)


def test_a_workload_whose_pods_can_be_made_has_no_trouble_of_its_own():
    conditions = [{"type": "ReplicaFailure", "status": "False"}, {"type": "Available", "status": "True"}]
    assert diagnosis.of_workload({"metadata": {"name": "hub"}, "status": {"conditions": conditions}}) is None
    assert diagnosis.of_workload({"metadata": {"name": "hub"}}) is None


def test_a_claim_without_a_volume_says_what_was_said_last():
    claim = {"metadata": {"name": "hub-db-dir"}, "status": {"phase": "Pending"}}
    events = [
        warning("ProvisioningFailed", "first", lastTimestamp="2026-01-01T00:00:00Z"),
        warning("ProvisioningFailed", "then", lastTimestamp="2026-01-02T00:00:00Z"),
    ]
    assert diagnosis.of_claim(claim, events).text == "the PersistentVolumeClaim hub-db-dir is not bound: then"
    assert "no provisioner has answered" in diagnosis.of_claim(claim, []).text
    assert diagnosis.of_claim({**claim, "status": {"phase": "Bound"}}, events) is None
