"""A local spawner host with a marker of its own, whose processes end with the test."""

import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from perijove.plugins.load import HubFacts, load_authenticator, load_spawner_host

SERVER = [sys.executable, str(Path(__file__).with_name("small_server.py"))]
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def hub_id(request):
    return f"test{abs(hash(request.node.nodeid)):x}{os.getpid()}"


@pytest.fixture
def c(tmp_path):
    config = Config()
    config.Spawner.cmd = SERVER
    config.SimpleLocalProcessSpawner.home_dir_template = f"{tmp_path}/home"
    return config


@pytest.fixture
async def make(c, tmp_path, hub_id):
    hosts = []

    def make(cls: Any = "simple", *, authenticator: Any = None, **facts: Any):
        facts = HubFacts(hub_id=hub_id, data_dir=tmp_path, **facts)
        if authenticator:
            authenticator = load_authenticator(authenticator_class=authenticator, traits=c, facts=facts)
        host = load_spawner_host(
            spawner_class=cls, traits=c, facts=facts, log_dir=tmp_path / "logs", authenticator=authenticator
        )
        hosts.append(host)
        return host

    yield make
    for host in hosts:
        for found in await host.find():
            await host.destroy(found)
        for child in host._table.children.values():
            child.wait(5)
