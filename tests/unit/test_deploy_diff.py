"""What would change, as people read it: without what the server writes, and without secrets."""

import base64

from perijove.deploy import diff


def secret(value, **more):
    data = {"key": base64.b64encode(value.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}, "data": data, **more}


def config(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hub"}, "data": data}


def test_what_the_server_writes_is_no_change():
    before = config(a="1")
    revision = {"deployment.kubernetes.io/revision": "3"}
    metadata = {"name": "hub", "uid": "u", "resourceVersion": "7", "managedFields": [], "annotations": revision}
    after = {**before, "metadata": metadata, "status": {"phase": "Bound"}}
    assert not diff.is_changed(before, after)
    assert diff.text(before, after) == ""
    kept = {**metadata, "annotations": {**revision, "mine": "yes"}}
    assert diff.cleaned({**after, "metadata": kept})["metadata"] == {"name": "hub", "annotations": {"mine": "yes"}}


def test_a_change_is_a_unified_diff_and_a_new_object_all_plus():
    assert '-  a: "1"\n+  a: "2"' in diff.text(config(a="1"), config(a="2"))
    lines = diff.text(None, config(a="1")).splitlines()
    assert all(line.startswith(("@@", "+")) for line in lines)
    assert diff.text(None, None) == ""


def test_of_a_secret_only_whether_it_changes_is_shown():
    text = diff.text(secret("old password"), secret("new password!", stringData={"other": "plain"}))
    assert "(12 bytes, " in text
    assert "(13 bytes, " in text
    assert not any(word in text for word in ("password", "plain", base64.b64encode(b"old password").decode()))
    assert diff.text(secret("same"), secret("same")) == ""
    odd = {**secret(""), "data": {"key": "not base64!"}}
    assert "(11 bytes, " in diff.text(None, odd)
    empty = {**secret(""), "data": None, "stringData": {"a": "hidden"}}
    assert "hidden" not in diff.text(None, empty)


def test_the_same_secret_is_told_apart_only_within_one_run(monkeypatch):
    """A plain digest in a log would let a weak password be guessed."""
    before = diff.text(None, secret("weak"))
    monkeypatch.setattr(diff, "_KEY", b"another process")
    assert diff.text(None, secret("weak")) != before


def test_paths_name_what_differs():
    before = {"spec": {"replicas": 1, "ports": [{"port": 1}, {"port": 2}], "gone": 1, "same": [1]}}
    after = {"spec": {"replicas": 2, "ports": [{"port": 1}, {"port": 3}], "same": [1]}}
    assert list(diff.paths(before, after)) == [".spec.gone", ".spec.ports[1].port", ".spec.replicas"]
    assert list(diff.paths([1], [1, 2], ".list")) == [".list"]
    assert list(diff.paths(1, 2)) == ["."]
    assert list(diff.paths(1, 1)) == []
