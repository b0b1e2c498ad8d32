"""Servers of a class that sees all of them at once are not asked one by one."""

import pytest
from jupyterhub.spawner import Spawner
from traitlets.config import Config

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId
from perijove.plugins import host as hosting
from perijove.plugins.facts import HubFacts
from perijove.plugins.host import ClassHost
from perijove.plugins.watched import Watched

ONE, TWO = ServerId(1), ServerId(2)


class Sighted(Watched, Spawner):
    in_sight = True
    world = None

    async def living(self):
        if self.world is None:
            raise RuntimeError("dark")
        return dict(self.world)

    async def start(self):
        raise NotImplementedError

    async def stop(self, now=False):
        raise NotImplementedError

    async def poll(self):
        raise NotImplementedError


class Deeper(Sighted):
    """Its poll looks at more."""

    in_sight = False


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    monkeypatch.setattr(hosting, "_POLLED_ANYWAY", 0)
    monkeypatch.setattr(Sighted, "world", {"pod a": ONE, "pod b": TWO})

    def make(cls=Sighted):
        facts = HubFacts(hub_id="h", base_url="/", connect_url="http://hub", host="here", data_dir=tmp_path)
        return ClassHost(cls, Config({"Spawner": {"poll_interval": 77}}), facts, tmp_path)

    return make


async def test_a_server_in_sight_is_looked_at_again_after_the_configured_interval(hosted):
    host = hosted()
    assert host.seen(ONE) is None
    await host.ended()
    assert host.seen(ONE) == 77


async def test_what_is_not_in_sight_is_polled(hosted):
    host = hosted()
    await host.ended()
    assert host.seen(ServerId(3)) is None


async def test_a_server_that_something_befell_is_polled_once_although_it_runs(hosted, monkeypatch):
    """A container that was restarted in its pod: only the poll tells what happened."""
    host = hosted()
    await host.ended()
    monkeypatch.setattr(Sighted, "world", {"pod a, second run": ONE, "pod b": TWO})
    assert await host.ended() == {ONE}
    assert host.seen(ONE) is None
    assert host.seen(ONE) == 77
    assert host.seen(TWO) == 77


async def test_nothing_is_taken_for_running_by_who_cannot_look(hosted, monkeypatch):
    host = hosted()
    await host.ended()
    monkeypatch.setattr(Sighted, "world", None)
    with pytest.raises(SpawnFailed):
        await host.ended()
    assert host.seen(ONE) is None


async def test_a_class_whose_poll_looks_at_more_is_polled(hosted):
    host = hosted(Deeper)
    await host.ended()
    assert host.seen(ONE) is None


async def test_some_are_polled_all_the_same(hosted, monkeypatch):
    host = hosted()
    await host.ended()
    monkeypatch.setattr(hosting, "_POLLED_ANYWAY", 1)
    assert host.seen(ONE) is None
