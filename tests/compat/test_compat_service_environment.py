"""What managed services are told where the hub is public, names are odd, or they run as another account."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from perijove.config.options import HubOptions, ServiceOptions
from perijove.reconcile.service_environment import service_environment
from perijove.services.registry import client_id
from perijove.testing import run_hub, until


def told(service: ServiceOptions, **hub) -> dict[str, str]:
    options = HubOptions(data_dir=Path("/nowhere"), **hub)
    return service_environment(options, service, token="t" * 32, api_url="http://127.0.0.1:8081/hub/api")


def test_a_public_hub_says_where_browsers_find_it_and_the_service():
    service = ServiceOptions(name="svc", url="http://127.0.0.1:9000")
    environment = told(service, base_url="/jupyter/", public_url="https://hub.example:8443/jupyter/")
    assert environment["JUPYTERHUB_HOST"] == "https://hub.example:8443"
    assert environment["JUPYTERHUB_PUBLIC_URL"] == "https://hub.example:8443/jupyter/services/svc/"
    assert environment["JUPYTERHUB_PUBLIC_HUB_URL"] == "https://hub.example:8443/jupyter/hub/"
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == "/jupyter/services/svc/"


def test_a_service_without_address_is_given_none():
    environment = told(ServiceOptions(name="culler"), public_url="https://hub.example/")
    assert "JUPYTERHUB_SERVICE_URL" not in environment
    assert environment["JUPYTERHUB_PUBLIC_URL"] == ""


def test_an_odd_name_is_escaped_in_paths_and_the_client_is_the_registered_one():
    service = ServiceOptions(name="my service", url="http://127.0.0.1:9000")
    environment = told(service)
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == f"/services/{quote('my service')}/"
    assert environment["JUPYTERHUB_CLIENT_ID"] == client_id(service)


def test_cookie_options_are_passed_on_when_there_are_any():
    service = ServiceOptions(name="svc")
    assert "JUPYTERHUB_COOKIE_OPTIONS" not in told(service)
    environment = told(service, cookie_options={"samesite": "None"}, cookie_host_prefix_enabled=True)
    assert json.loads(environment["JUPYTERHUB_COOKIE_OPTIONS"]) == {"samesite": "None"}
    assert environment["JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED"] == "1"


def test_what_the_operator_writes_wins():
    service = ServiceOptions(name="svc", environment={"JUPYTERHUB_HOST": "https://other", "MORE": "1"})
    environment = told(service)
    assert (environment["JUPYTERHUB_HOST"], environment["MORE"]) == ("https://other", "1")


def test_the_commands_beside_the_hub_are_found_first_whatever_was_activated(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    assert told(ServiceOptions(name="svc"))["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every account can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o777)
        yield Path(temporary)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_a_service_runs_as_the_account_it_is_given(public):
    out = public / "who"
    command = ["/bin/sh", "-c", f'echo "$(id -un) $(id -gn) $USER $HOME" > {out}; exec sleep 600']
    async with run_hub({"hub": {"services": {"svc": {"command": command, "user": "nobody"}}}}):
        who = await until(lambda: out.exists() and out.read_text().split())
    assert who == ["nobody", "nogroup", "nobody", "/nonexistent"]
