"""What pods are told, what is kept of it, and when they are replaced to hear it anew."""

import base64
import re
from pathlib import Path

import pytest

from perijove.config import ConfigError, NoteKind, load
from perijove.deploy.release import AUTH_TOKEN, COOKIE_SECRET, CRYPT_KEYS, GeneratedSecrets
from perijove.deploy.render import CONFIG_HASH


@pytest.fixture
def refused(rendered):
    def make(text: str):
        with pytest.raises(ConfigError) as caught:
            rendered(text)
        return caught.value.problems

    return make


def pod(found, name: str, kind: str = "Deployment"):
    return found[kind, name]["spec"]["template"]["spec"]


def arguments(found, name: str) -> list[str]:
    return pod(found, name)["containers"][0]["args"]


def config_hash(found, name: str) -> str:
    return found["Deployment", name]["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH]


def entry(found, name: str) -> str:
    return base64.b64decode(found["Secret", "hub"]["data"][name]).decode()


# -- secrets and restarts ------------------------------------------------------------------------


def test_what_the_configuration_says_wins_over_what_was_generated(rendered):
    text = """
        hub: {cookieSecret: "%s", config: {CryptKeeper: {keys: [a, b]}}}
        proxy: {secretToken: given}
    """ % ("f" * 64)
    found, _ = rendered(text)
    assert (entry(found, COOKIE_SECRET), entry(found, AUTH_TOKEN), entry(found, CRYPT_KEYS)) == (
        "f" * 64,
        "given",
        "a;b",
    )


def test_generated_values_are_kept_across_runs(rendered):
    first, _ = rendered(secrets=GeneratedSecrets.kept(None))
    kept = GeneratedSecrets.kept(first["Secret", "hub"])
    assert rendered(secrets=kept)[0] == first


def test_a_secret_of_an_old_release_is_understood():
    data = {"proxy.token": "dG9rZW4=", "hub.cookie-secret": base64.b64encode(b"a" * 64).decode()}
    kept = GeneratedSecrets.kept({"data": data})
    assert (kept.auth_token, kept.cookie_secret) == ("token", "a" * 64)
    assert re.fullmatch("[0-9a-f]{64}", kept.crypt_keys)


def test_a_cookie_secret_that_cannot_sign_is_made_anew():
    kept = GeneratedSecrets.kept({"data": {COOKIE_SECRET: base64.b64encode(b"not hex").decode()}})
    assert re.fullmatch("[0-9a-f]{64}", kept.cookie_secret)


def test_secrets_are_not_in_a_repr():
    assert "2222" not in repr(GeneratedSecrets(cookie_secret="", auth_token="", crypt_keys="2" * 64))


def test_hubs_restart_when_the_configuration_changes_and_proxies_do_not(rendered):
    before, after = rendered()[0], rendered("cull: {timeout: 60}")[0]
    assert config_hash(before, "hub") != config_hash(after, "hub")
    assert config_hash(before, "proxy") == config_hash(after, "proxy")


def test_hub_and_proxies_restart_when_their_token_changes(rendered):
    before, after = rendered()[0], rendered("proxy: {secretToken: other}")[0]
    for name in ("hub", "proxy"):
        assert config_hash(before, name) != config_hash(after, name)


def test_proxies_restart_for_a_certificate_in_the_file(rendered):
    text = "proxy: {https: {enabled: true, type: manual, manual: {key: K, cert: %s}}}"
    assert config_hash(rendered(text % "one")[0], "proxy") != config_hash(rendered(text % "two")[0], "proxy")


# -- what the hub reads --------------------------------------------------------------------------


def test_the_hub_understands_in_its_pod_what_was_said_outside(rendered, tmp_path):
    text = """
        hub:
          extraConfig: |
            c.X.a = 1

            if True:
            \tc.X.b = "ü"
          extraEnv: {YES: "yes", NUMBER: "1e3", TIME: 12:30:45, EMPTY: ""}
          fsGid: 7
        singleuser: {memory: {limit: 1.5G}, cmd: null}
        auth: {type: dummy, dummy: {password: "0123"}}
    """
    outside = load([tmp_path / "config.yaml"]) if (tmp_path / "config.yaml").write_text(text) else None
    found, _ = rendered(text)
    inside = tmp_path / "values.yaml"
    inside.write_text(entry(found, "values.yaml"))
    again = load([inside])
    assert again.settings == outside.settings
    assert again.values == outside.values
    assert "auth.type" in " ".join(str(note) for note in again.notes if note.kind is NoteKind.TRANSLATED)


def test_code_in_files_beside_the_configuration_goes_along(rendered, tmp_path):
    (tmp_path / "more code.py").write_text("c.X.y = 1\n")
    found, _ = rendered("hub: {extraConfigFiles: ['more code.py']}")
    assert entry(found, "extra-config-0-more-code.py") == "c.X.y = 1\n"
    assert "- extra-config-0-more-code.py" in entry(found, "values.yaml")


def test_missing_code_files_and_impossible_files_are_problems_with_a_place(refused):
    problems = refused(
        """
        hub:
          extraConfigFiles: [gone.py]
          extraFiles:
            a/b: {mountPath: /x, stringData: x}
            c: {mountPath: /x.ini, data: {a: b}}
        """
    )
    assert [problem.path[1:] for problem in problems] == [
        ("extraConfigFiles", 0),
        ("extraFiles", "a/b"),
        ("extraFiles", "c"),
    ]
    assert "a-b" in problems[1].remedy


def test_a_configuration_that_no_secret_can_hold_is_refused(refused):
    (problem,) = refused(f"hub: {{extraConfig: {{a: '# {'x' * 1100000}'}}}}")
    assert "1048576" in problem.message


def test_an_existing_secret_is_read_after_the_configuration(rendered):
    found, _ = rendered("hub: {existingSecret: mine}")
    files = [argument for argument in arguments(found, "hub") if argument.startswith("--file=")]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod(found, "hub")["containers"][0]["volumeMounts"]}
    assert [mounts[str(Path(file.removeprefix("--file=").removesuffix("/values.yaml")))] for file in files] == [
        "secret",
        "existing-secret",
    ]
