"""Services with the stock `HubOAuth`: one that the hub knows by a token alone, one that it runs itself."""

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from perijove.cli.listening import free_port
from perijove.testing import run_hub, until
from perijove.testing.browser import xsrf_of

HOME = "hub/login?next=%2Fhub%2Fhome"
SERVICE = Path(__file__).parent / "oauth_service.py"


# -- external: started by its administrator, reached through the proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def external(hub, stock):
    """Both external services, running."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(SERVICE)), env={"PATH": os.environ["PATH"], **service.environment(hub)}
        )
        for service in (stock.asking, stock.trusted)
    ]
    for service in (stock.asking, stock.trusted):
        await until(lambda service=service: answers(hub, f"/services/{service.name}/environment"), every=0.05)
    yield stock
    for process in processes:
        process.terminate()
        await process.wait()


async def answers(hub, path: str) -> bool:
    async with hub.browser() as browser:
        response, _ = await browser.get(path)
        return response.status == 200


async def test_a_trusted_service_learns_who_visits_without_a_question(hub, external):
    async with hub.browser() as browser:
        await browser.log_in("guest", path=HOME)
        response, body = await browser.get("/services/trusted/")
        assert [step.url.path for step in response.history] == [
            "/services/trusted/",
            "/hub/api/oauth2/authorize",
            "/services/trusted/oauth_callback",
        ]
        assert response.status == 200
        model = json.loads(body)
    assert (model["kind"], model["name"], model["admin"]) == ("user", "guest", False)
    assert "access:services!service=trusted" in model["scopes"]


async def test_another_service_is_told_only_after_the_person_agreed(hub, external):
    async with hub.browser() as browser:
        await browser.log_in("reader", path=HOME)
        response, page = await browser.get("/services/asking/some/page?x=1")
        assert (response.status, response.url.path) == (200, "/hub/api/oauth2/authorize")
        scopes = re.findall(r'name="scopes" value="([^"]+)"', page)
        assert "access:services!service=asking" in scopes
        response, body = await browser.post(str(response.url), {"_xsrf": xsrf_of(page), "scopes": scopes})
        # Back where they wanted to go.
        assert (response.status, response.url.path_qs) == (200, "/services/asking/some/page?x=1")
        assert json.loads(body)["name"] == "reader"


async def test_who_is_not_logged_in_comes_back_to_the_service_after_logging_in(hub, external):
    async with hub.browser() as browser:
        response, page = await browser.get("/services/trusted/")
        assert response.url.path == "/hub/login"
        form = {"username": "guest", "password": "x", "_xsrf": xsrf_of(page)}
        response, body = await browser.post(str(response.url), form)
        assert (response.status, response.url.path) == (200, "/services/trusted/")
        assert json.loads(body)["name"] == "guest"


async def test_who_may_not_use_a_service_is_refused_by_hub_and_service(hub, external, token_of):
    async with hub.browser() as browser:
        await browser.log_in("guest", path=HOME)
        response, _ = await browser.get("/services/asking/")
        assert (response.status, response.url.path) == (403, "/hub/api/oauth2/authorize")
    async with hub.browser() as browser:
        headers = {"Authorization": f"token {await token_of('guest')}"}
        response, _ = await browser.get("/services/asking/", headers=headers)
        assert (response.status, response.url.path) == (403, "/services/asking/")
        response, _ = await browser.get("/services/trusted/", headers=headers)
        assert response.status == 200


async def test_logging_out_of_the_hub_logs_out_of_services(hub, external):
    async with hub.browser() as browser:
        await browser.log_in("guest", path=HOME)
        response, _ = await browser.get("/services/trusted/")
        assert response.status == 200
        await browser.get("hub/logout")
        response, _ = await browser.get("/services/trusted/")
        assert response.url.path == "/hub/login"


async def test_a_services_token_is_the_service(hub, stock):
    status, me = await hub.api("GET", "/user", token=stock.trusted.token)
    assert (status, me["kind"], me["name"]) == (200, "service", "trusted")


async def test_a_service_that_is_not_there_has_an_error_page(hub):
    async with hub.browser() as browser:
        response, page = await browser.get("/services/absent/")
    assert response.status == 503
    assert "<html" in page


# -- managed: a child process of the hub


class Managed:
    """What a test knows of the service that the hub runs: which processes, over time."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port = free_port()
        self.starts_file = directory / "starts"
        self.environment = {"STARTS": str(self.starts_file), **environment}

    @property
    def entry(self) -> dict:
        return {
            "url": f"http://127.0.0.1:{self.port}",
            "command": [sys.executable, str(SERVICE)],
            "environment": self.environment,
            "oauth_no_confirm": True,
            "oauth_client_allowed_scopes": ["read:users:activity!user"],
        }

    @property
    def config(self) -> dict:
        return {
            "hub": {
                "config": {
                    "JupyterHub": {"authenticator_class": "dummy", "spawner_class": "simple"},
                    "Authenticator": {"allow_all": True},
                },
                "services": {"managed": self.entry},
                "loadRoles": {"guests": {"scopes": ["access:services!service=managed"], "users": ["guest"]}},
            }
        }

    @property
    def starts(self) -> list[int]:
        """Process ids, of every start so far."""
        return [int(line) for line in self.starts_file.read_text().split()] if self.starts_file.exists() else []

    @property
    def alive(self) -> list[int]:
        found = []
        for pid in self.starts:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE and str(SERVICE) in process.cmdline():
                    found.append(pid)
        return found


@pytest.fixture
def managed(tmp_path):
    made = Managed(tmp_path)
    yield made
    for pid in made.alive:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_managed_service_runs_as_long_as_its_hub(managed):
    """Started with all that its client library reads, started again when it dies, ended with the hub."""
    async with run_hub(managed.config) as hub:
        await until(lambda: answers(hub, "/services/managed/environment"), every=0.05)
        [first] = managed.alive
        async with hub.browser() as browser:
            _, body = await browser.get("/services/managed/environment")
            environment = json.loads(body)["environment"]
            assert_complete(environment, hub, managed)
            await browser.log_in("guest", path=HOME)
            response, body = await browser.get("/services/managed/")
            assert (response.status, json.loads(body)["name"]) == (200, "guest")
        token = environment["JUPYTERHUB_API_TOKEN"]
        status, me = await hub.api("GET", "/user", token=token)
        assert (status, me["kind"], me["name"]) == (200, "service", "managed")

        os.kill(first, signal.SIGKILL)
        await until(lambda: managed.alive and managed.alive != [first], every=0.05)
        await until(lambda: answers(hub, "/services/managed/environment"), every=0.05)
        assert len(managed.starts) == 2
        # A token lives as long as the process that it was made for.
        assert (await hub.api("GET", "/user", token=token))[0] == 403

        await hub.stop()
        assert managed.alive == []


def assert_complete(environment: dict[str, str], hub, managed: Managed) -> None:
    expected = {
        "JUPYTERHUB_SERVICE_NAME": "managed",
        "JUPYTERHUB_API_URL": f"{hub.hub_url}hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_PREFIX": "/services/managed/",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{managed.port}",
        "JUPYTERHUB_CLIENT_ID": "service-managed",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": "/services/managed/oauth_callback",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_PUBLIC_URL": "",
        "JUPYTERHUB_PUBLIC_HUB_URL": "",
        "JUPYTERHUB_USER": "",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "0",
        "STARTS": str(managed.starts_file),
    }
    assert {name: environment.get(name) for name in expected} == expected
    access = {"access:services", "access:services!service=managed"}
    assert set(json.loads(environment["JUPYTERHUB_OAUTH_ACCESS_SCOPES"])) == access
    assert json.loads(environment["JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES"]) == ["read:users:activity!user"]
    assert re.fullmatch("[0-9a-f]{32}", environment["JUPYTERHUB_API_TOKEN"])
    assert "PATH" in environment
    # Nothing of the hub's own: its secrets are in its environment.
    assert "JUPYTERHUB_ACTIVITY_URL" not in environment
    assert "CONFIGPROXY_AUTH_TOKEN" not in environment


async def test_a_killed_hub_never_leaves_two_instances(managed):
    async with run_hub(managed.config) as hub:
        await until(lambda: answers(hub, "/services/managed/environment"), every=0.05)
        [first] = managed.alive
        hub.hub_process().kill()
        most = 1

        def replaced() -> bool:
            nonlocal most
            alive = managed.alive
            most = max(most, len(alive))
            return bool(alive) and alive != [first]

        # `perijove up` starts the hub again; that one ends the orphan before it starts its own.
        await until(replaced, seconds=20)
        await until(lambda: answers(hub, "/services/managed/environment"), every=0.05)
        assert most == 1
        assert len(managed.starts) == 2
        assert len(managed.alive) == 1


async def test_a_service_that_keeps_dying_is_tried_ever_more_seldom_and_harms_nobody(tmp_path):
    failing = Managed(tmp_path, FAIL="1")
    async with run_hub(failing.config) as hub:
        await until(lambda: len(failing.starts) == 3, seconds=20)
        pauses = [float(pause) for pause in re.findall(r"next_start_in_seconds=([\d.]+)", hub.log)]
        assert pauses[:2] == [0.5, 1.0]
        assert "exit_code=3" in hub.log
        assert (await hub.api("GET", "/users"))[0] == 200
