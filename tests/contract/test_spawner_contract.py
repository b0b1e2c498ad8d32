"""What every spawner host promises: JupyterHub's local process spawners, a configured subclass, and the fake."""

import asyncio
import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from traitlets.config import Config

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import ServerSpec, SpawnerHost, UserFacts
from perijove.plugins.load import HubFacts, load_spawner_host
from perijove.testing.fake_spawner import FakeSpawnerHost
from perijove.testing.waiting import until

SERVER = [sys.executable, str(Path(__file__).with_name("small_server.py"))]
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name


@dataclass
class Stand:
    """A host under test, and how a test makes it misbehave."""

    host: SpawnerHost
    # The hub restarts: a new host, the same world.
    restarted: Callable[[], SpawnerHost]
    dying: Callable[[], None]
    failing: Callable[[], None]


def spec(server_id: int = 7, **changes: Any) -> ServerSpec:
    plain = ServerSpec(
        id=ServerId(server_id),
        user=UserFacts(id=UserId(3), name=ACCOUNT),
        name="",
        generation=1,
        api_token="a-fresh-token",
        oauth_client_id=f"jupyterhub-user-{ACCOUNT}",
    )
    return replace(plain, **changes)


# Written as in the configuration files that people have: hooks that change the spawner, state of its own.
SUBCLASS = """
from jupyterhub.spawner import SimpleLocalProcessSpawner

class TeamSpawner(SimpleLocalProcessSpawner):
    def get_state(self):
        state = super().get_state()
        state["team"] = "blue"
        return state

    async def start(self):
        self.environment["TEAM"] = "blue"
        return await super().start()

async def pre_spawn_hook(spawner):
    spawner.environment["GREETING"] = f"Hello {spawner.user.name}"

c.TeamSpawner.pre_spawn_hook = pre_spawn_hook
c.JupyterHub.spawner_class = TeamSpawner
"""


def _hosted(kind: str, tmp_path: Path, hub_id: str) -> Stand:
    c = Config()
    if kind == "subclass":
        exec(SUBCLASS, {"c": c})
    else:
        c.JupyterHub.spawner_class = kind
    c.Spawner.cmd = SERVER
    c.SimpleLocalProcessSpawner.home_dir_template = f"{tmp_path}/home-{{username}}"
    facts = HubFacts(hub_id=hub_id, data_dir=tmp_path)

    def make() -> SpawnerHost:
        return load_spawner_host(
            spawner_class=c.JupyterHub.spawner_class, traits=c, facts=facts, log_dir=tmp_path / "logs"
        )

    def dying() -> None:
        c.Spawner.args = ["die", "3"]

    def failing() -> None:
        c.Spawner.cmd = ["no-such-command-anywhere"]

    return Stand(make(), make, dying, failing)


def _fake() -> Stand:
    host = FakeSpawnerHost()

    def dying() -> None:
        host.behaviour.exit_at_start = 3

    def failing() -> None:
        host.behaviour.fail_start = RuntimeError("no room")

    return Stand(host, lambda: FakeSpawnerHost(host.world), dying, failing)


@pytest.fixture(params=["localprocess", "simple", "subclass", "fake"])
async def stand(request, tmp_path, hub_id):
    stand = _fake() if request.param == "fake" else _hosted(request.param, tmp_path, hub_id)
    yield stand
    for found in await stand.host.find():
        await stand.host.destroy(found)
    if isinstance(stand.host, FakeSpawnerHost):
        await stand.host.world.close()
    else:
        # A "restarted" hub ended them; their parent is still this process.
        for child in stand.host._table.children.values():
            child.wait(5)


@pytest.fixture
def hub_id(request):
    """One a test, so that tests running at once do not find each other's processes."""
    return f"test{abs(hash(request.node.nodeid)):x}{os.getpid()}"


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/api") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def test_a_started_server_answers_at_the_url_that_start_returned(stand):
    spawner = await stand.host.open(spec())
    url = await spawner.start()
    assert url.startswith("http://127.0.0.1:")
    assert url.count("/") == 2
    assert await until(lambda: answers(url))
    assert await spawner.poll() is None


async def test_a_rebuilt_spawner_knows_its_server_from_the_state(stand):
    first = await stand.host.open(spec())
    url = await first.start()
    state = first.state()
    first.close()
    again = await stand.host.open(spec(state=state, url=url, api_token=""))
    assert await again.poll() is None
    assert again.state() == state


async def test_after_a_restart_of_the_hub_the_server_is_known_and_can_be_stopped(stand):
    first = await stand.host.open(spec())
    url = await first.start()
    host = stand.restarted()
    again = await host.open(spec(state=first.state(), url=url, api_token=""))
    assert await again.poll() is None
    await again.stop()
    assert await again.poll() is not None
    assert not await answers(url)


async def test_stop_ends_the_server_and_clears_the_state(stand):
    spawner = await stand.host.open(spec())
    url = await spawner.start()
    assert await until(lambda: answers(url))
    await spawner.stop()
    assert not await answers(url)
    assert "pid" not in spawner.state()
    assert not await stand.host.find()


async def test_stopping_what_never_started_is_harmless(stand):
    spawner = await stand.host.open(spec())
    await spawner.stop()
    await spawner.stop(now=True)


async def test_a_server_nobody_started_polls_as_exited(stand):
    spawner = await stand.host.open(spec())
    assert await spawner.poll() is not None


async def test_a_dead_process_is_noticed_with_exit_code_and_last_lines(stand):
    stand.dying()
    spawner = await stand.host.open(spec())
    try:
        await spawner.start()
    except SpawnFailed as failure:
        assert "3" in failure.message  # noqa: PT017 - a process that dies fast enough ends the start itself
        return
    exited = await until(spawner.poll)
    assert exited.code == 3
    assert exited.log_lines


async def test_a_rebuilt_spawner_still_knows_the_exit_code(stand):
    stand.dying()
    first = await stand.host.open(spec())
    try:
        url = await first.start()
    except SpawnFailed:
        pytest.skip("died during start")
    again = await stand.host.open(spec(state=first.state(), url=url))
    exited = await until(again.poll)
    assert exited.code == 3


async def test_starting_again_leaves_exactly_one_server(stand):
    first = await stand.host.open(spec())
    await first.start()
    second = await stand.host.open(spec(generation=2))
    await second.start()
    found = await stand.host.find()
    assert [(one.server_id, one.generation) for one in found] == [(7, 2)]
    assert await second.poll() is None


async def test_what_runs_is_found_by_server_and_generation_and_can_be_destroyed(stand):
    for server_id in (7, 8):
        spawner = await stand.host.open(spec(server_id, generation=5))
        url = await spawner.start()
    host = stand.restarted()
    found = sorted(await host.find(), key=lambda one: one.server_id)
    assert [(one.server_id, one.generation) for one in found] == [(7, 5), (8, 5)]
    assert found[1].url == url
    await host.destroy(found[1])
    assert [one.server_id for one in await host.find()] == [7]


async def test_a_failed_start_gives_a_reason_a_message_and_details(stand):
    stand.failing()
    spawner = await stand.host.open(spec())
    with pytest.raises(SpawnFailed) as failure:
        await spawner.start()
    assert failure.value.reason
    assert failure.value.message
    assert failure.value.details
    await spawner.stop()
    assert not await stand.host.find()


async def test_progress_yields_events_and_ends_with_the_start(stand):
    spawner = await stand.host.open(spec())

    async def collect() -> list[dict[str, Any]]:
        return [event async for event in spawner.progress()]

    events = asyncio.create_task(collect())
    await spawner.start()
    assert all("message" in event for event in await asyncio.wait_for(events, 5))
    assert events.result()


async def test_a_cancelled_start_leaves_nothing_after_its_stop(stand):
    spawner = await stand.host.open(spec())
    start = asyncio.create_task(spawner.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await spawner.stop(now=True)
    assert not await stand.host.find()


async def test_without_an_options_form_there_is_nothing_to_choose(stand):
    assert await stand.host.options_form(spec()) == ""


async def test_form_fields_become_options(stand):
    options = await stand.host.options_from_form(spec(), {"size": ["big"]})
    assert options["size"] in ("big", ["big"])


async def test_the_token_of_a_start_is_not_reported_as_recovered(stand):
    spawner = await stand.host.open(spec())
    await spawner.start()
    assert spawner.recovered_token() == ""
    assert spawner.will_resume is False
