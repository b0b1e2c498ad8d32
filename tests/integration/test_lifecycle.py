"""Servers from intent to end, on a real database, with a spawner that does what the test says.

Requests are the same services that the API and the pages call; what the world holds is looked at in the
world itself, not in what rows say of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from sqlalchemy import insert, select, update

from perijove.bus.memory import Bus
from perijove.config.options import CullOptions, HubOptions
from perijove.domain.errors import Conflict, Forbidden, Invalid, LimitReached, SpawnFailed
from perijove.domain.scopes import Catalogue
from perijove.domain.states import Desired, Observed, Phase
from perijove.lib.clock import SystemClock
from perijove.reconcile import culling, overdue, sweep
from perijove.reconcile.loop import Reconciler
from perijove.services.activity import ActivityBuffer
from perijove.services.auth_state import Crypt
from perijove.services.context import HubContext
from perijove.services.identity_cache import IdentityCache
from perijove.services.progress import progress, wait_settled
from perijove.services.server_rows import ServerRow, get_server
from perijove.services.servers import (
    StartOutcome,
    StopOutcome,
    create_server,
    request_start,
    request_stop,
    update_server,
)
from perijove.services.signing import Signer
from perijove.store import claims
from perijove.store.database import Store
from perijove.store.schema import oauth_clients, servers, tokens, users
from perijove.testing.fake_spawner import FakeSpawnerHost, FakeWorld
from perijove.testing.waiting import until

LONG_AGO = timedelta(hours=5)


@asynccontextmanager
async def hub_on(
    path: Path, world: FakeWorld, *, replica: str = "replica-1", **options: Any
) -> AsyncIterator[HubContext]:
    """A hub's use cases on the database below `path`; several may share it."""
    bus = Bus()
    store = await Store.open(f"sqlite:///{path}/hub.sqlite", bus=bus)
    chosen = replace(HubOptions(data_dir=path, allow_named_servers=True), **options)
    hub = HubContext(
        options=chosen,
        store=store,
        bus=bus,
        clock=SystemClock(),
        authenticator=SimpleNamespace(enable_auth_state=False, refresh_pre_spawn=False, refresh_pre_stop=False),
        spawners=FakeSpawnerHost(world),
        crypt=Crypt(()),
        signer=Signer(store.cookie_secret),
        identities=IdentityCache(bus, Catalogue()),
        activity=ActivityBuffer(),
        replica_id=replica,
        host="here",
    )
    try:
        yield hub
    finally:
        await store.close()


@asynccontextmanager
async def reconciling(hub: HubContext) -> AsyncIterator[Reconciler]:
    async with aiohttp.ClientSession() as http:
        reconciler = Reconciler(hub, http)
        task = asyncio.create_task(reconciler.run())
        try:
            yield reconciler
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world():
    world = FakeWorld()
    yield world
    await world.close()


@pytest.fixture
async def hub(tmp_path: Path, world: FakeWorld):
    async with hub_on(tmp_path, world) as hub:
        await add_users(hub, "alice", "bob")
        yield hub


async def add_users(hub: HubContext, *names: str) -> None:
    async with hub.store.transaction() as tx:
        await tx.execute(insert(users), [{"name": name, "admin": False, "created": tx.now} for name in names])


async def start(hub: HubContext, user: str = "alice", name: str = "", **more: Any) -> ServerRow:
    _, row = await request_start(hub, user=user, name=name, actor=user, **more)
    return row


async def settled(hub: HubContext, row: ServerRow) -> ServerRow:
    fresh = await wait_settled(hub, row.id, 20)
    assert fresh is not None
    assert fresh.pending is None, f"still pending: {fresh}"
    return fresh


async def events(hub: HubContext, user: str = "alice", name: str = "") -> list[dict]:
    return [event async for event in await progress(hub, user, name)]


async def test_a_requested_server_becomes_ready_and_its_progress_is_told_in_order(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub, options={"profile": "big"}))
        told = await events(hub)
    assert row.ready
    (server,) = world.alive()
    assert (row.url, server.user_options) == (server.url, {"profile": "big"})
    assert told[-1]["ready"] is True
    assert told[-1]["url"] == "/user/alice/"


async def test_every_listener_of_a_progress_stream_gets_all_of_it(hub, world):
    hub.spawners.behaviour.hold_start = asyncio.Event()
    async with reconciling(hub):
        await start(hub)
        streams = [asyncio.create_task(events(hub)) for _ in range(3)]
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
        stream = asyncio.create_task(events(hub))
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
        told = await events(hub)
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


async def test_a_start_that_a_dead_hub_began_is_finished_by_another_without_a_second_server(
    tmp_path, hub, world, monkeypatch
):
    hub.spawners.behaviour.hold_start = asyncio.Event()
    async with aiohttp.ClientSession() as http:
        reconciler = Reconciler(hub, http)
        task = asyncio.create_task(reconciler.run())
        row = await start(hub)
        await until(world.alive)
        # As a SIGKILL leaves it: no clean-up, the lease still held.
        with monkeypatch.context() as patch:
            patch.setattr(Reconciler, "_give_back", lambda _self: asyncio.sleep(0))
            operations = [entry.task for entry in reconciler._running.values()]
            for one in (task, *operations):
                one.cancel()
            await asyncio.gather(task, *operations, return_exceptions=True)
    async with hub_on(tmp_path, world, replica="replica-2") as second:
        await claims.release_of(second.store, ["replica-1"])
        async with reconciling(second):
            row = await settled(second, row)
    assert row.ready
    assert len(world.alive()) == 1
    assert row.url == world.alive()[0].url


async def test_a_woken_hub_cannot_write_over_its_successor(tmp_path, hub, world):
    """Frozen past its lease at the end of a start: the late write is refused and the row stays the other's."""
    row = await start(hub)
    (lease,) = await claims.claim_work(hub.store, owner="replica-1", host=None, limit=10)
    async with hub.store.transaction() as tx:
        await tx.execute(update(servers).values(lease_expires=tx.now - timedelta(seconds=1)))
    async with hub_on(tmp_path, world, replica="replica-2") as second, reconciling(second):
        row = await settled(second, row)
        with pytest.raises(claims.LeaseLost):
            async with hub.store.transaction() as tx:
                await claims.settle(tx, lease, {"url": "http://stale"}, release=True)
    assert (await get_server(hub, "alice", "")).url == world.alive()[0].url


async def test_two_hubs_never_start_one_server_twice(tmp_path, hub, world):
    names = [f"user{n}" for n in range(30)]
    await add_users(hub, *names)
    async with hub_on(tmp_path, world, replica="replica-2") as second, reconciling(hub), reconciling(second):
        rows = await asyncio.gather(*(start(one, name) for name in names for one in [hub]))
        for row in rows:
            assert (await settled(hub, row)).ready
    starts = [call for call in world.calls if call.startswith("start")]
    assert len(starts) == len(set(starts)) == len(names)


async def test_a_pending_start_without_any_hub_ends_at_its_deadline(hub):
    row = await start(hub)
    async with hub.store.transaction() as tx:
        await tx.execute(update(servers).values(deadline=tx.now - timedelta(minutes=1)))
    assert await overdue.end_overdue(hub) == 1
    row = await get_server(hub, "alice", "")
    assert row.pending is None
    assert row.failure is not None
    assert row.failure["reason"] == "deadline"


async def test_the_sweep_ends_what_no_row_wants_and_spares_what_one_does(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
    spec_of_nobody = SimpleNamespace(id=999, generation=1, api_token="", user_options={})
    await world.run(spec_of_nobody, silent=True)
    assert await sweep.sweep_orphans(hub) == 1
    assert [server.server_id for server in world.alive()] == [row.id]


async def test_the_sweep_ends_what_a_stopped_row_left(hub, world):
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
    async with hub.store.transaction() as tx:
        await tx.execute(update(servers).values(observed=Observed.STOPPED, desired=Desired.STOPPED))
    assert await sweep.sweep_orphans(hub) == 1
    assert world.alive() == []
    assert row.generation == 1


async def test_the_last_place_is_given_once(tmp_path, hub, world):
    """`active_server_limit` is exact though two hubs are asked at the same time."""
    names = [f"user{n}" for n in range(8)]
    async with (
        hub_on(tmp_path, world, active_server_limit=3) as first,
        hub_on(tmp_path, world, replica="replica-2", active_server_limit=3) as second,
    ):
        await add_users(first, *names)
        both = (first, second)
        outcomes = await asyncio.gather(
            *(start(both[n % 2], name) for n, name in enumerate(names)), return_exceptions=True
        )
    refused = [outcome for outcome in outcomes if isinstance(outcome, LimitReached)]
    assert len(refused) == len(names) - 3
    assert all(error.retry_after_seconds for error in refused)


async def test_too_many_starts_at_once_are_told_when_to_come_back(tmp_path, world):
    async with hub_on(tmp_path, world, concurrent_spawn_limit=1) as hub:
        await add_users(hub, "alice", "bob")
        await start(hub)
        with pytest.raises(LimitReached) as refused:
            await start(hub, "bob")
    assert 30 <= refused.value.retry_after_seconds <= 60


async def test_failures_in_a_row_pause_starts_but_never_the_hub(tmp_path, world):
    async with hub_on(tmp_path, world, consecutive_failure_limit=2) as hub, reconciling(hub):
        await add_users(hub, "alice", "bob")
        hub.spawners.behaviour.fail_start = RuntimeError("broken image")
        for _ in range(2):
            row = await settled(hub, await start(hub))
            assert row.failure is not None
        with pytest.raises(LimitReached, match="last 2 server starts failed"):
            await start(hub, "bob")


async def test_a_refusal_by_policy_does_not_count_as_a_failure(tmp_path, world):
    async with hub_on(tmp_path, world, consecutive_failure_limit=1) as hub, reconciling(hub):
        await add_users(hub, "alice")
        hub.spawners.behaviour.fail_start = SpawnFailed("Not for you.", reason="policy", status=403)
        await settled(hub, await start(hub))
        hub.spawners.behaviour.fail_start = None
        assert (await settled(hub, await start(hub))).ready


async def test_named_servers_have_rules(hub, tmp_path, world):
    with pytest.raises(Invalid, match="lowercase"):
        await start(hub, name="Not A Name")
    async with hub_on(tmp_path, world, named_server_limit_per_user=1) as limited:
        await create_server(limited, user="bob", name="one", actor="bob")
        with pytest.raises(Invalid, match="maximum of 1"):
            await create_server(limited, user="bob", name="two", actor="bob")
    async with hub_on(tmp_path, world, allow_named_servers=False) as plain:
        with pytest.raises(Invalid, match="not enabled"):
            await start(plain, name="gpu")


async def test_a_named_server_is_renamed_and_removed_with_its_storage(hub, world):
    await create_server(hub, user="alice", name="gpu", actor="alice", display_name="My GPU")
    with pytest.raises(Conflict):
        await create_server(hub, user="alice", name="gpu", actor="alice")
    row = await update_server(hub, user="alice", name="gpu", actor="alice", new_name="gpu2", display_name="Other")
    assert (row.name, row.display_name) == ("gpu2", "Other")
    async with reconciling(hub):
        row = await settled(hub, await start(hub, name="gpu2"))
        with pytest.raises(Invalid, match="stop it first"):
            await update_server(hub, user="alice", name="gpu2", actor="alice", new_name="gpu3")
        await request_stop(hub, user="alice", name="gpu2", actor="alice", remove=True)

        async def gone() -> bool:
            async with hub.store.read() as connection:
                return (await connection.execute(select(servers.c.id))).first() is None

        await until(gone)
    assert world.calls[-1] == f"delete {row.id}"


async def test_idle_servers_are_culled_and_busy_ones_are_not(tmp_path, world):
    policy = CullOptions(enabled=True, timeout_seconds=3600)
    async with hub_on(tmp_path, world, cull=policy) as hub, reconciling(hub):
        await add_users(hub, "alice", "bob")
        idle, busy = await settled(hub, await start(hub, "alice")), await settled(hub, await start(hub, "bob"))
        async with hub.store.transaction() as tx:
            await tx.execute(update(servers).where(servers.c.id == idle.id).values(last_activity=tx.now - LONG_AGO))
        assert await culling.cull(hub) == 1
        assert (await settled(hub, idle)).observed is Observed.STOPPED
        assert (await get_server(hub, "bob", "")).ready
    assert [server.server_id for server in world.alive()] == [busy.id]


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


async def test_a_recorded_start_is_resumed_where_it_was(tmp_path, hub, world):
    """The row says `spawned`: the next hub waits for readiness instead of starting again."""
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
    async with hub.store.transaction() as tx:
        await tx.execute(update(servers).values(observed=Observed.STARTING, phase=Phase.SPAWNED, next_poll=None))
    async with hub_on(tmp_path, world, replica="replica-2") as second, reconciling(second):
        row = await settled(second, row)
    assert row.ready
    assert world.calls.count(f"start {row.id}") == 1


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
