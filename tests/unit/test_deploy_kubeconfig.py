"""Kubeconfig files as kubectl reads them: merged, relative, with every way to prove who asks."""

import base64
import json
import os
import ssl

import pytest

from perijove.kube import access as accesses
from perijove.kube.errors import ClusterNotFound
from perijove.testing.kube.certificates import Authority


def kubeconfig(path, *, user=None, cluster=None, name="one", namespace="jhub", current=True):
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": "https://api.example.org:6443/", **(cluster or {})}}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        **({"current-context": name} if current else {}),
    }
    path.write_text(json.dumps(content))
    return path


def plugin(path, answer, *, code=0):
    said = path.with_suffix(".said")
    said.write_text(json.dumps(answer))
    path.write_text(f'#!/bin/sh\necho "$KUBERNETES_EXEC_INFO" > {path}.asked\ncat {said}\nexit {code}\n')
    path.chmod(0o755)
    return path


USERLESS = """
current-context: b
contexts: [{name: b, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'http://x'}}]
"""
VERSION = "client.authentication.k8s.io/v1"


def credential(**status):
    return {"apiVersion": VERSION, "kind": "ExecCredential", "status": status}


async def proof(path, *, fresh=False):
    access = await accesses.find(path)
    return await access.authorization(fresh)


async def test_a_context_leads_to_a_server_a_namespace_and_a_token(tmp_path):
    access = await accesses.find(kubeconfig(tmp_path / "config", user={"token": "secret"}))
    assert (access.url, access.namespace) == ("https://api.example.org:6443", "jhub")
    assert await access.authorization(False) == "Bearer secret"
    assert access.origin == f"the current context of {tmp_path}/config"
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_REQUIRED


async def test_files_of_a_list_are_merged_and_the_first_wins(tmp_path, monkeypatch):
    first = kubeconfig(tmp_path / "first", user={"token": "1"}, name="one", current=False)
    second = kubeconfig(tmp_path / "second", user={"token": "2"}, name="two", namespace="other")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "absent"), str(first), "", str(second)]))
    assert (await accesses.find()).namespace == "other"
    chosen = await accesses.find(context="one")
    assert (chosen.namespace, await chosen.authorization(False)) == ("jhub", "Bearer 1")


async def test_paths_are_relative_to_the_file_and_token_files_are_read_again(tmp_path):
    (tmp_path / "token").write_text("old\n")
    (tmp_path / "ca.pem").write_text(Authority().pem)
    path = kubeconfig(tmp_path / "config", user={"tokenFile": "token"}, cluster={"certificate-authority": "ca.pem"})
    access = await accesses.find(path)
    assert await access.authorization(False) == "Bearer old"
    (tmp_path / "token").write_text("new\n")
    assert await access.authorization(False) == "Bearer new"
    assert access.tls is not None
    assert len(access.tls.get_ca_certs()) == 1


async def test_names_and_passwords_of_old_clusters_still_log_in(tmp_path):
    found = await proof(kubeconfig(tmp_path / "config", user={"username": "ann", "password": "pw"}))
    assert base64.b64decode(found.removeprefix("Basic ")) == b"ann:pw"


async def test_what_a_cluster_says_of_its_connection_is_kept(tmp_path):
    cluster = {"insecure-skip-tls-verify": True, "tls-server-name": "api", "proxy-url": "http://proxy:3128"}
    access = await accesses.find(kubeconfig(tmp_path / "config", cluster=cluster))
    assert (access.server_name, access.http_proxy) == ("api", "http://proxy:3128")
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_NONE
    assert await access.authorization(False) == ""


async def test_a_plug_in_is_told_of_the_cluster_and_gives_token_and_certificate(tmp_path):
    authority = Authority()
    authority.server_context(["127.0.0.1"], tmp_path)
    # With its key.
    certificate = (tmp_path / "apiserver.pem").read_text()
    answer = credential(token="t", clientCertificateData=certificate)
    command = plugin(tmp_path / "login", answer)
    user = {"exec": {"apiVersion": VERSION, "command": "./login", "provideClusterInfo": True, "args": ["-v"]}}
    authority_data = base64.b64encode(authority.pem.encode()).decode()
    access = await accesses.find(
        kubeconfig(tmp_path / "config", user=user, cluster={"certificate-authority-data": authority_data})
    )
    assert await access.authorization(False) == "Bearer t"
    asked = json.loads(command.with_name("login.asked").read_text())
    assert asked["spec"]["cluster"]["server"] == "https://api.example.org:6443/"
    assert asked["spec"]["cluster"]["certificate-authority-data"] == authority_data


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (credential(token="t"), 3, "ended with code 3"),
        (["no"], 0, "printed no ExecCredential"),
        (credential(), 0, "neither token nor certificate"),
        ({**credential(token="t"), "apiVersion": "v0"}, 0, "speaks v0, and the file asks for"),
    ],
)
async def test_a_plug_in_that_fails_is_named_with_what_it_did(tmp_path, answer, code, message):
    command = plugin(tmp_path / "login", answer, code=code)
    path = kubeconfig(tmp_path / "config", user={"exec": {"apiVersion": VERSION, "command": str(command)}})
    with pytest.raises(ClusterNotFound, match=rf"login .*{message}|login {message}"):
        await accesses.find(path)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"exec": {"apiVersion": VERSION, "command": "no-such-login", "installHint": "get it"}}, r"run: .* \(get it\)"),
        ({"exec": {"command": "x"}}, "needs `apiVersion` and `command`"),
        ({"as": "root"}, "acts `as` another"),
        ({"tokenFile": "gone", "client-certificate": "gone.pem"}, "gone.pem"),
        ({"client-certificate-data": "%%%"}, "client-certificate-data is no base64"),
    ],
)
async def test_what_cannot_be_used_is_said(tmp_path, user, message):
    with pytest.raises(ClusterNotFound, match=message):
        await accesses.find(kubeconfig(tmp_path / "config", user=user))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no YAML"),
        ("[]", "is no kubeconfig"),
        ("clusters: {}\nusers: 3", "is no kubeconfig"),
        ("clusters: [a]", "is no list of names"),
        ("", "names no current-context"),
        ("contexts: [{name: b, context: {}}]", "its contexts are b"),
        ("current-context: a\ncontexts: [{name: b, context: {}}]", "there is no context a; it has b"),
        ("current-context: b\ncontexts: [{name: b, context: {cluster: c}}]", "names the cluster 'c'"),
        (
            USERLESS,
            "names the user 'u'",
        ),
    ],
)
async def test_a_file_that_leads_nowhere_says_why(tmp_path, text, message):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ClusterNotFound, match=message):
        await accesses.find(path)


async def test_an_old_auth_provider_is_asked_through_the_library_that_knows_it(tmp_path):
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    claims = base64.urlsafe_b64encode(b'{"exp": 4102444800}').decode().rstrip("=")
    token = f"{header}.{claims}.x"
    user = {"auth-provider": {"name": "oidc", "config": {"id-token": token}}}
    assert await proof(kubeconfig(tmp_path / "config", user=user)) == f"Bearer {token}"


async def test_a_pod_uses_its_own_account_as_the_kubelet_renews_it(tmp_path, monkeypatch):
    monkeypatch.setattr(accesses, "_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for name, text in (("token", "one\n"), ("namespace", "jhub\n"), ("ca.crt", Authority().pem)):
        (tmp_path / name).write_text(text)
    access = await accesses.find()
    assert (access.url, access.namespace) == ("https://[fd00::1]:443", "jhub")
    assert await access.authorization(False) == "Bearer one"
    (tmp_path / "token").write_text("two\n")
    assert await access.authorization(False) == "Bearer two"
