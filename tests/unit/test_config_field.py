"""What files in the field have and no documentation names: taken as the charts took it, or told in plain words."""

import textwrap

import pytest

from perijove.config import ConfigError, load
from perijove.config.keys import cookie_secret
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render


@pytest.fixture
def read(tmp_path):
    def loaded(text: str):
        file = tmp_path / "config.yaml"
        file.write_text(textwrap.dedent(text))
        return load([file])

    return loaded


@pytest.fixture
def problem(read):
    def one(text: str):
        with pytest.raises(ConfigError) as caught:
            read(text)
        (found,) = caught.value.problems
        return found

    return one


def test_a_cookie_secret_as_old_guides_made_it_signs_cookies_and_is_kept(read):
    secret = "4f8c22aa" * 16
    assert len(cookie_secret(read(f'hub: {{cookieSecret: "{secret}"}}').settings.hub.cookie_secret)) == 64
    with pytest.raises(ValueError, match="64 hex digits"):
        cookie_secret("4f8c22aa" * 7)


def test_a_host_that_is_null_is_any_host(read):
    loaded = read("""
        ingress:
          enabled: true
          hosts:
            - hub.example.org
            -
    """)
    manifests = render(loaded, Release(namespace="jhub"), GeneratedSecrets.generate()).manifests
    (ingress,) = [each for each in manifests if each["kind"] == "Ingress"]
    assert [rule.get("host") for rule in ingress["spec"]["rules"]] == ["hub.example.org", None]


@pytest.mark.parametrize("path", ["singleuser: {uid: None}", "hub: {fsGid: None}", "hub: {uid: None}"])
def test_pythons_none_is_not_told_to_lose_quotes_it_does_not_have(problem, path):
    found = problem(path)
    assert found.expected == "a whole number"
    assert "null" in found.remedy


def test_a_trait_of_the_application_among_the_keys_of_the_hub_is_told_where_it_belongs(problem):
    assert "hub.config.JupyterHub.default_url" in problem("hub: {default_url: /hub/home}").remedy


def test_a_file_over_another_one_may_set_the_ingress_alone_two_charts_deep(read):
    loaded = read("""
        binderhub:
          ingress: {hosts: [binder.example.org]}
          jupyterhub:
            ingress: {hosts: [hub.example.org]}
        grafana: {}
    """)
    assert loaded.settings.ingress.hosts == ["hub.example.org"]
    assert "binderhub.jupyterhub" in loaded.notes[0].message


def test_a_file_whose_content_is_elsewhere_is_told_what_to_add(problem):
    found = problem("hub: {extraFiles: {spawner: {mountPath: /srv/spawner.py}}}")
    assert "stringData" in found.remedy
