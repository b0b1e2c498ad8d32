"""Which instance of a spawner class polls a server: the one that did before, while the rows say the same."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from jupyterhub.spawner import SimpleLocalProcessSpawner, Spawner

from perijove.domain.errors import SpawnFailed
from perijove.plugins import kept
from perijove.plugins.kept import KeptInstances
from perijove.testing.local_process import server_spec

START = datetime(2026, 1, 1, tzinfo=UTC)


class Telling(Spawner):
    """Says what the test wants to hear, and counts."""

    answers = None
    polls = 0
    loads = 0

    def load_state(self, state):
        super().load_state(state)
        self.loads += 1
        self.loaded = dict(state)

    async def start(self):
        return "http://127.0.0.1:1"

    async def stop(self, now=False):
        pass

    async def poll(self):
        self.polls += 1
        if isinstance(answer := type(self).answers, Exception):
            raise answer
        return answer


@pytest.fixture
def telling(monkeypatch):
    monkeypatch.setattr(Telling, "answers", None)
    return Telling


def spec(**changes):
    return server_spec(
        **{"state": {"at": "a"}, "url": "http://127.0.0.1:1", "started": START, "api_token": "", **changes}
    )


async def polled(host, spec):
    """The instance that did it."""
    spawner = await host.open_to_poll(spec)
    try:
        await spawner.poll()
    finally:
        spawner.close()
    return spawner.plugin


async def test_a_server_that_did_not_change_is_polled_by_the_same_instance(make, telling):
    host = make(telling)
    first = await polled(host, spec())
    assert await polled(host, spec()) is first
    assert (first.polls, first.loads, first.loaded) == (2, 1, {"at": "a"})


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": 5},
        {"state": {"at": "b"}},
        {"url": "http://127.0.0.1:2"},
        {"started": START + timedelta(seconds=1)},
        {"user_options": {"size": "big"}},
        {"display_name": "other"},
        {"user": replace(server_spec().user, groups=("team-a", "team-b"))},
        {"user": replace(server_spec().user, admin=True)},
        {"user": replace(server_spec().user, name="renamed")},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_what_another_replica_changed_is_polled_by_an_instance_made_of_the_new_row(make, telling, changes):
    host = make(telling)
    first = await polled(host, spec())
    changed = spec(**changes)
    second = await polled(host, changed)
    assert second is not first
    assert second.loaded == changed.state
    assert second.user.name == changed.user.name
    assert await polled(host, spec()) is not first, "what was there before the change does not come back"


async def test_times_of_activity_make_no_new_instance_and_are_seen_by_the_old_one(make, telling):
    host = make(telling)
    first = await polled(host, spec())
    later = START + timedelta(hours=1)
    moved = spec(last_activity=later, user=replace(server_spec().user, last_activity=later))
    assert await polled(host, moved) is first
    assert first.orm_spawner.last_activity == first.user.last_activity == later.replace(tzinfo=None)


async def test_an_instance_acts_under_the_lease_of_its_present_poll(make):
    host = make(SimpleLocalProcessSpawner)
    spawner = await host.open(spec(lease_epoch=1))
    await spawner.start()
    running = spec(state=spawner.state(), lease_epoch=2)
    first = await polled(host, running)
    again = await polled(host, replace(running, lease_epoch=7))
    assert again is first
    assert first.hosting.epoch == 7
    await spawner.stop(now=True)


async def test_who_starts_or_stops_a_server_gets_an_own_instance_and_the_next_poll_a_new_one(make, telling):
    host = make(telling)
    first = await polled(host, spec())
    operation = await host.open(spec())
    assert operation.plugin is not first
    operation.close()
    assert await polled(host, spec()) not in {first, operation.plugin}


@pytest.mark.parametrize("answer", [0, 137, RuntimeError("API server away")])
async def test_an_instance_that_did_not_see_its_server_run_is_not_asked_again(make, telling, answer):
    host = make(telling)
    first = await polled(host, spec())
    telling.answers = answer
    if isinstance(answer, Exception):
        with pytest.raises(SpawnFailed):
            await polled(host, spec())
    else:
        await polled(host, spec())
    telling.answers = None
    assert await polled(host, spec()) is not first


async def test_an_instance_whose_poll_was_given_up_is_not_asked_again(make):
    class Slow(Telling):
        forever = False

        async def poll(self):
            if Slow.forever:
                await asyncio.Event().wait()

    host = make(Slow)
    first = await polled(host, spec())
    Slow.forever = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await polled(host, spec())
    Slow.forever = False
    assert await polled(host, spec()) is not first


async def test_two_at_once_do_not_share_an_instance(make, telling):
    host = make(telling)
    await polled(host, spec())
    one, two = await host.open_to_poll(spec()), await host.open_to_poll(spec())
    assert one.plugin is not two.plugin


def test_so_many_are_kept_and_who_is_not_asked_for_any_more_makes_room(monkeypatch):
    monkeypatch.setattr(kept, "MAX_KEPT", 2)
    instances = KeptInstances()

    def put(number, now):
        instances.put(spec(id=number), number, now)

    def taken(*numbers):
        found = [instances.take(spec(id=number)) for number in numbers]
        return [one and one.plugin for one in found]

    for number in (1, 2, 3):
        put(number, now=number)
    assert taken(1, 2, 3) == [1, 2, None]
    put(1, now=10)
    put(2, now=20)
    put(4, now=10 + kept.STALE_SECONDS)
    assert taken(1, 2, 4) == [None, 2, 4]
