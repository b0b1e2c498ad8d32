"""One hub for this folder, with a stock single-user server of each release; tests leave both as they are."""

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from perijove.cli.listening import free_port
from perijove.testing import RunningHub, run_hub, until

# An in-file class as operators write them: users whose names end in 5 have images of the release before.
STOCK_SPAWNER = """
from jupyterhub.spawner import SimpleLocalProcessSpawner

class StockSpawner(SimpleLocalProcessSpawner):
    @property
    def will_resume(self):
        return self.user.name.startswith("resuming")

    def start(self):
        if self.user.name.endswith("5"):
            self.cmd = [get_config("custom.singleuser5")]
        return super().start()

c.JupyterHub.spawner_class = StockSpawner
c.StockSpawner.home_dir_template = get_config("custom.homes") + "/{username}"
"""


def _stock_config(homes: Path, singleuser5: Path, **hub: Any) -> dict[str, Any]:
    """Anybody may log in; servers are stock, report their activity each second, and live below `homes`."""
    return {
        "custom": {"homes": str(homes), "singleuser5": str(singleuser5)},
        "hub": {
            "allowNamedServers": True,
            "config": {
                "JupyterHub": {
                    "authenticator_class": "dummy",
                    "load_groups": {"students": {"users": ["ada5", "ada6"]}, "teachers": {"users": ["teacher"]}},
                },
                "Authenticator": {"allow_all": True, "admin_users": ["admin"]},
                "Spawner": {"args": ["--allow-root"] if os.geteuid() == 0 else []},
            },
            "extraConfig": {"stock": STOCK_SPAWNER},
            **hub,
        },
        "singleuser": {"extraEnv": {"JUPYTERHUB_ACTIVITY_INTERVAL": "1"}},
    }


@dataclass(frozen=True)
class ExternalService:
    """A program that the hub knows by a token alone."""

    name: str
    port: int
    token: str

    @property
    def entry(self) -> dict[str, Any]:
        """In `hub.services`."""
        return {"url": f"http://127.0.0.1:{self.port}", "apiToken": self.token}

    def environment(self, hub: RunningHub) -> dict[str, str]:
        """What its administrator tells it."""
        prefix = f"{hub.base_url}services/{self.name}/"
        return {
            "JUPYTERHUB_SERVICE_NAME": self.name,
            "JUPYTERHUB_API_TOKEN": self.token,
            "JUPYTERHUB_API_URL": f"{hub.hub_url}hub/api",
            "JUPYTERHUB_BASE_URL": hub.base_url,
            "JUPYTERHUB_SERVICE_PREFIX": prefix,
            "JUPYTERHUB_SERVICE_URL": self.entry["url"],
            "JUPYTERHUB_CLIENT_ID": f"service-{self.name}",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([f"access:services!service={self.name}", "access:services"]),
        }


def external_service(name: str) -> ExternalService:
    return ExternalService(name, free_port(), secrets.token_hex(16))


@dataclass(frozen=True)
class Stock:
    """The hub of this folder and the services beside it: `asking` asks people before it knows them, `trusted` not."""

    hub: RunningHub
    asking: ExternalService
    trusted: ExternalService


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stock(tmp_path_factory: pytest.TempPathFactory, singleuser5: Path) -> AsyncIterator[Stock]:
    asking, trusted = external_service("asking"), external_service("trusted")
    config = _stock_config(
        tmp_path_factory.mktemp("homes"),
        singleuser5,
        services={
            "asking": asking.entry,
            "trusted": {**trusted.entry, "oauth_no_confirm": True},
            "absent": external_service("absent").entry,
        },
        loadRoles={
            "readers": {"scopes": ["access:services!service=asking"], "users": ["reader"]},
            "guests": {"scopes": ["access:services!service=trusted"], "users": ["reader", "guest"]},
            "teachers": {"scopes": ["access:servers!group=students"], "groups": ["teachers"]},
        },
    )
    async with run_hub(config) as hub:
        yield Stock(hub, asking, trusted)


@pytest.fixture(scope="session")
def hub(stock: Stock) -> RunningHub:
    """The hub that all tests of a run share."""
    return stock.hub


@dataclass(frozen=True)
class StockServer:
    """A running stock server. `version` is of its `jupyterhub` package."""

    hub: RunningHub
    version: str
    user: str
    name: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.user}/{self.name}"

    @property
    def prefix(self) -> str:
        return f"{self.hub.base_url}user/{self.user}/" + (f"{self.name}/" if self.name else "")

    @property
    def url(self) -> str:
        """Through the proxy."""
        return self.hub.url.removesuffix(self.hub.base_url) + self.prefix

    async def model(self) -> dict[str, Any]:
        """What the hub says of it; {} once it is gone."""
        _, user = await self.hub.api("GET", f"/users/{self.user}")
        return dict(user["servers"].get(self.name, {}))

    @property
    def environment(self) -> dict[str, str]:
        """Of its process."""
        for process in self.hub.user_processes():
            environment = process.environ()
            if environment.get("JUPYTERHUB_SERVICE_PREFIX") == self.prefix and "singleuser" in str(process.cmdline()):
                return dict(environment)
        raise LookupError(f"no process for {self.prefix}")

    async def start(self) -> None:
        path = f"/users/{self.user}/servers/{self.name}" if self.name else f"/users/{self.user}/server"
        await self.hub.api("POST", f"/users/{self.user}")
        status, answer = await self.hub.api("POST", path)
        assert status in (201, 202), answer

        async def ready() -> bool:
            model = await self.model()
            return bool(model.get("ready"))

        await until(ready, seconds=40, every=0.1)

    async def stop(self) -> None:
        path = f"/users/{self.user}/servers/{self.name}" if self.name else f"/users/{self.user}/server"
        status, answer = await self.hub.api("DELETE", path)
        assert status in (202, 204), answer

        async def stopped() -> bool:
            model = await self.model()
            return not model.get("ready") and not model.get("pending")

        await until(stopped, seconds=20, every=0.1)


@pytest.fixture
def stock_config() -> Callable[..., dict[str, Any]]:
    """`stock_config(homes, singleuser5)` for tests that need a hub of their own."""
    return _stock_config


@pytest.fixture
def stock_server() -> type[StockServer]:
    """`stock_server(hub, version, user, name)`, to be started."""
    return StockServer


VERSIONS = {"6": "6.1", "5": "5."}


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=sorted(VERSIONS))
async def server(request: pytest.FixtureRequest, hub: RunningHub) -> StockServer:
    """A stock server of each release that we promise to work with, running."""
    found = StockServer(hub, VERSIONS[request.param], f"ada{request.param}")
    await found.start()
    return found


@pytest_asyncio.fixture(params=sorted(VERSIONS))
async def own_server(request: pytest.FixtureRequest, hub: RunningHub):
    """`await own_server(user[, name])`: a running stock server that a test may stop; one for each release."""
    made = []

    async def start(user: str, name: str = "", *, exactly: bool = False) -> StockServer:
        # The end of the name chooses the release.
        user = user if exactly else f"{user}{request.param}"
        found = StockServer(hub, VERSIONS[request.param], user, name)
        made.append(found)
        await found.start()
        return found

    yield start
    for found in made:
        await found.stop()


@pytest.fixture
def token_of(hub: RunningHub):
    """`await token_of(user, scopes…)`: a token that the administrator makes for somebody."""

    async def make(user: str, *scopes: str) -> str:
        await hub.api("POST", f"/users/{user}")
        status, made = await hub.api("POST", f"/users/{user}/tokens", {"scopes": list(scopes)} if scopes else {})
        assert status == 201, made
        return made["token"]

    return make
