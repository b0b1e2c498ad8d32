"""One server from intent to end, on a real database, with a spawner that does what the test says.

Requests are the same services that the API and the pages call; what the world holds is looked at in the
world itself, not in what rows say of it.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from perijove.domain.errors import Forbidden, SpawnFailed
from perijove.domain.states import Desired, Observed
from perijove.services.context import HubContext
from perijove.services.server_rows import ServerRow, get_server
from perijove.services.servers import (
    StartOutcome,
    StopOutcome,
    request_start,
    request_stop,
)
from perijove.store.schema import oauth_clients, servers, tokens
from perijove.testing.fake_spawner import FakeWorld
from perijove.testing.replica import add_users, progress_events, reconciling, replica_on, settled, start
from perijove.testing.waiting import until


@pytest.fixture
async def world():
    world = FakeWorld()
    yield world
    await world.close()


@pytest.fixture
async def hub(tmp_path: Path, world: FakeWorld):
    async with replica_on(tmp_path, world) as hub:
        await add_users(hub, "alice", "bob")
        yield hub


async def test_a_requested_server_becomes_ready_and_its_progress_is_told_in_order(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub, options={"profile": "big"}))
        told = await progress_events(hub)
    assert row.ready
    (server,) = world.alive()
    assert (row.url, server.user_options) == (server.url, {"profile": "big"})
    assert told[-1]["ready"] is True
    assert told[-1]["url"] == "/user/alice/"


async def test_every_listener_of_a_progress_stream_gets_all_of_it(hub, world):
    hub.spawners.behaviour.hold_start = asyncio.Event()
    async with reconciling(hub):
        await start(hub)
        streams = [asyncio.create_task(progress_events(hub)) for _ in range(3)]
        await until(world.alive)
        hub.spawners.behaviour.hold_start.set()
        told = await asyncio.gather(*streams)
    assert [e["message"] for e in told[0]] == [
        "Server requested",
        "Starting the fake server",
        "Server ready at /user/alice/",
    ]
    assert told[1] == told[0] == told[2]


async def test_asking_twice_starts_once(hub, world):
    hub.spawners.behaviour.hold_start = asyncio.Event()
    async with reconciling(hub):
        row = await start(hub)
        outcome, _ = await request_start(hub, user="alice", actor="alice")
        assert outcome is StartOutcome.ALREADY_PENDING
        hub.spawners.behaviour.hold_start.set()
        await settled(hub, row)
        outcome, _ = await request_start(hub, user="alice", actor="alice")
        assert outcome is StartOutcome.ALREADY_RUNNING
    assert world.calls.count(f"start {row.id}") == 1


async def test_a_stopped_server_leaves_no_process_token_or_oauth_client(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        outcome, _ = await request_stop(hub, user="alice", actor="alice")
        assert outcome is StopOutcome.STOPPING
        row = await settled(hub, row)
    assert (row.observed, row.url, row.failure) == (Observed.STOPPED, "", None)
    assert world.alive() == []
    async with hub.store.read() as connection:
        assert (await connection.execute(select(tokens.c.id))).all() == []
        assert (await connection.execute(select(oauth_clients.c.id))).all() == []


async def test_stopping_what_does_not_run_is_no_error(hub):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        await request_stop(hub, user="alice", actor="alice")
        await settled(hub, row)
        outcome, _ = await request_stop(hub, user="alice", actor="alice")
    assert outcome is StopOutcome.ALREADY_STOPPED


async def test_a_start_can_be_cancelled_and_leaves_nothing(hub, world):
    hub.spawners.behaviour.hold_start = asyncio.Event()
    async with reconciling(hub):
        row = await start(hub)
        await until(world.alive)
        stream = asyncio.create_task(progress_events(hub))
        await request_stop(hub, user="alice", actor="alice")
        row = await settled(hub, row)
        told = await stream
    assert (row.observed, row.desired, row.failure) == (Observed.STOPPED, Desired.STOPPED, None)
    assert told[-1] == {"progress": 100, "failed": True, "message": "Spawn cancelled"}
    assert world.alive() == []


async def test_a_start_that_nobody_claimed_yet_is_cancelled_at_once(hub, world):
    row = await start(hub)
    outcome, row = await request_stop(hub, user="alice", actor="alice")
    assert outcome is StopOutcome.STOPPING
    assert (row.pending, row.deadline) == (None, None)
    assert world.calls == []


async def test_start_while_stopping_runs_after_the_stop(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        hub.spawners.behaviour.hold_stop = asyncio.Event()
        await request_stop(hub, user="alice", actor="alice")
        await until(lambda: f"stop {row.id}" in world.calls)
        outcome, _ = await request_start(hub, user="alice", actor="alice", options={"again": True})
        assert outcome is StartOutcome.STARTED
        hub.spawners.behaviour.hold_stop.set()
        row = await settled(hub, row)
    assert row.ready
    assert row.generation == 2
    (server,) = world.alive()
    assert server.user_options == {"again": True}


async def test_start_cancel_start_ends_with_the_last_wish(hub, world):
    hub.spawners.behaviour.hold_start = asyncio.Event()
    async with reconciling(hub):
        row = await start(hub, options={"n": 1})
        await until(world.alive)
        await request_stop(hub, user="alice", actor="alice")
        await request_start(hub, user="alice", actor="alice", options={"n": 2})
        hub.spawners.behaviour.hold_start.set()
        row = await settled(hub, row)
    assert row.ready
    (server,) = world.alive()
    assert server.user_options == {"n": 2}


@pytest.mark.parametrize("half_started", [False, True])
async def test_a_failed_start_has_a_reason_for_the_user_and_details_for_the_admin(hub, world, half_started):
    hub.spawners.behaviour.fail_start = SpawnFailed("No GPU is free.", reason="quota", details="node pool exhausted")
    hub.spawners.behaviour.half_started = half_started
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        told = await progress_events(hub)
    assert row.observed is Observed.STOPPED
    assert row.failure is not None
    assert (row.failure["reason"], row.failure["message"], row.failure["details"]) == (
        "quota",
        "No GPU is free.",
        "node pool exhausted",
    )
    assert told[-1] == {"progress": 100, "failed": True, "message": "Spawn failed: No GPU is free."}
    assert world.alive() == []


async def test_a_process_that_dies_during_its_start_ends_it_at_once_with_its_last_words(hub):
    hub.spawners.behaviour.exit_at_start = 3
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
    assert row.failure is not None
    assert row.failure["reason"] == "exited"
    assert "exit code 3" in row.failure["message"]
    assert "cannot start: told to fail" in row.failure["message"]


async def test_a_server_that_never_answers_fails_with_a_timeout(hub, world):
    hub.spawners.behaviour.silent = True
    opened = hub.spawners.open

    async def impatient(spec):
        spawner = await opened(spec)
        spawner.http_timeout_seconds = 0.3
        return spawner

    hub.spawners.open = impatient
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
    assert row.failure is not None
    assert row.failure["reason"] == "timeout"
    assert world.alive() == []


async def test_a_running_server_that_dies_is_noticed_and_said(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        world.alive()[0].die(137, "Killed")
        await poll_now(hub)
        row = await until(lambda: stopped_row(hub))
    assert row.failure is not None
    assert "exit code 137" in row.failure["message"]
    assert "Killed" in row.failure["details"]
    assert row.desired is Desired.STOPPED


async def stopped_row(hub: HubContext) -> ServerRow | None:
    row = await get_server(hub, "alice", "")
    return row if row.observed is Observed.STOPPED else None


async def poll_now(hub: HubContext) -> None:
    async with hub.store.transaction() as tx:
        await tx.execute(update(servers).values(next_poll=tx.now))


async def test_a_spawner_that_cannot_tell_does_not_end_a_server(hub):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        hub.spawners.behaviour.fail_poll = RuntimeError("API server away")
        await poll_now(hub)

        async def polled() -> bool:
            async with hub.store.read() as connection:
                return (await connection.execute(select(servers.c.next_poll))).scalar_one() > hub.store.now()

        await until(polled)
        row = await get_server(hub, "alice", "")
    assert row.ready


async def test_a_stop_that_the_spawner_refuses_is_tried_again_and_in_the_end_forced(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        hub.spawners.behaviour.fail_stop = RuntimeError("will not")
        await request_stop(hub, user="alice", actor="alice")

        async def attempted() -> bool:
            return (await get_server(hub, "alice", "")).attempts > 0

        await until(attempted)
        async with hub.store.transaction() as tx:
            long_ago = tx.now - timedelta(minutes=1)
            await tx.execute(update(servers).values(deadline=long_ago, next_attempt=long_ago))
        row = await settled(hub, row)
    assert row.failure is not None
    assert row.failure["reason"] == "stop_failed"
    assert world.alive() == []


@pytest.mark.parametrize(("welcome", "starts"), [(True, 1), (False, 0)])
async def test_with_refresh_pre_spawn_the_authenticator_is_asked_before_a_start(hub, world, welcome, starts):
    async def refresh(_user):
        return welcome

    hub.authenticator.refresh_pre_spawn = True
    hub.authenticator.auth_refresh_age_seconds = 300
    hub.authenticator.refresh = refresh
    async with reconciling(hub):
        if welcome:
            await settled(hub, await start(hub))
        else:
            with pytest.raises(Forbidden, match="Log in again"):
                await start(hub)
    assert len(world.alive()) == starts
