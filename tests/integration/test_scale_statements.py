"""What a request asks of the database does not grow with the number of users: as many statements, no more rows."""

import asyncio
import contextlib
import re
import socket
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import uvicorn
from sqlalchemy import event

from perijove.cli.compiling import compile_files
from perijove.compose import Plugins, hub_facts, open_hub
from perijove.services import roles
from perijove.testing.browser import Browser
from perijove.testing.fake_spawner import FakeSpawnerHost
from perijove.testing.hub import config_for_tests, write_config
from perijove.testing.replicas import OPEN_TO_ALL
from perijove.testing.scale.asking import ADMIN, SCOPES, SERVICE, USER, everything
from perijove.testing.scale.crowd import statements
from perijove.testing.waiting import until
from perijove.web.app import build_app

FEW, MANY = 450, 2000
SERVERS = 250
TOKEN = "token-of-scale"
# Written by requests at their own times: when a session or token was used last.
_ASIDE = re.compile(r"UPDATE (tokens|sessions) SET last_")


class Counted:
    """Statements and the rows that they brought."""

    def __init__(self, hub):
        self.statements, self.rows = [], 0
        for engine in (hub.store._readers, hub.store._writer):
            event.listen(engine.sync_engine, "after_cursor_execute", self._note)

    def _note(self, _connection, cursor, statement, _parameters, _context, _many):
        if not _ASIDE.match(statement):
            self.statements.append(statement)
            self.rows += max(cursor.rowcount, 0)

    def take(self):
        taken, rows = self.statements, self.rows
        self.statements, self.rows = [], 0
        return taken, rows


@asynccontextmanager
async def hub_with(url, users, directory):
    """A hub without what works behind it, so that all that is asked of the database is asked by requests."""
    layers = [
        write_config(directory / "open.yaml", OPEN_TO_ALL),
        write_config(directory / "testing.yaml", config_for_tests(TOKEN, "/", homes=directory)),
        write_config(
            directory / "own.yaml",
            {
                "hub": {
                    "db": {"type": "postgres", "url": url},
                    "config": {"JupyterHub": {"authenticate_prometheus": False}},
                    "loadRoles": {"testing": {"scopes": SCOPES, "services": ["testing"]}},
                }
            },
        ),
    ]
    compiled = compile_files(layers, directory)
    async with open_hub(compiled.options, compiled.traits, plugins=Plugins(spawners=FakeSpawnerHost())) as hub:
        await roles.reconcile(hub)
        async with hub.store.transaction() as tx:
            for statement in statements(users=users, servers=SERVERS, stub="http://127.0.0.1:9"):
                await tx.execute(statement)
        facts = hub_facts(hub.options, hub.store, hub.store.cookie_secret)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            server = uvicorn.Server(
                uvicorn.Config(build_app(hub, compiled.traits, facts), lifespan="off", log_config=None, ws="none")
            )
            server.capture_signals = contextlib.nullcontext
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            await until(lambda: server.started)
            try:
                yield hub, f"http://127.0.0.1:{sock.getsockname()[1]}/"
            finally:
                server.should_exit = True
                await serving


async def asked(url, users, directory):
    """By request: its statements and how many rows came."""
    directory.mkdir()
    found = {}
    async with AsyncExitStack() as stack:
        hub, address = await stack.enter_async_context(hub_with(url, users, directory))
        sessions = {
            "nobody": await stack.enter_async_context(aiohttp.ClientSession()),
            SERVICE: await stack.enter_async_context(
                aiohttp.ClientSession(headers={"Authorization": f"token {TOKEN}"})
            ),
        }
        for who, name in ((ADMIN, "admin"), (USER, f"user{users:06}")):
            browser = await stack.enter_async_context(Browser(address))
            assert (await browser.log_in(name, path="hub/login?next=/hub/home"))[0] == 200
            sessions[who] = browser.session
        counted = Counted(hub)
        for ask in everything(users):
            if ask.whole or ask.path.endswith("/server") or ask.what == "page spawn":
                continue
            path = ask.path.format(n=1, user="user000007")
            for _ in range(2 if ask.method == "GET" else 1):  # caches are warm the second time
                counted.take()
                async with sessions[ask.who].request(ask.method, f"{address}{path}", json=ask.body) as response:
                    body = await response.text()
                assert response.status < 300, f"{ask.method} {path}: {response.status} {body[:300]}"
            found[ask.who, ask.name] = counted.take()
    return found


async def test_no_request_asks_more_of_the_database_with_more_users(postgres, tmp_path):
    """The same statements with five times as many users, and no more rows than a page has."""
    few = await asked(postgres.create_database(), FEW, tmp_path / "few")
    many = await asked(postgres.create_database(), MANY, tmp_path / "many")
    assert few.keys() == many.keys()
    more = {
        name: (len(few[name][0]), len(many[name][0]), few[name][1], many[name][1])
        for name in few
        if len(few[name][0]) != len(many[name][0]) or many[name][1] > few[name][1] + max(5, few[name][1] // 10)
    }
    assert more == {}
