"""What several hubs, dead hubs and limits make of servers.

Requests are the same services that the API and the pages call; what the world holds is looked at in the
world itself, not in what rows say of it.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from sqlalchemy import select, update

from perijove.config.options import CullOptions
from perijove.domain.errors import Conflict, Invalid, LeaseLost, LimitReached, SpawnFailed
from perijove.domain.states import Desired, Observed, Phase
from perijove.reconcile import culling, overdue, sweep
from perijove.reconcile.loop import Reconciler
from perijove.services.server_rows import get_server
from perijove.services.server_steps import Change, Step, write_step
from perijove.services.servers import (
    create_server,
    request_stop,
    update_server,
)
from perijove.store import claims
from perijove.store.schema import servers
from perijove.testing.fake_spawner import FakeWorld
from perijove.testing.replica import add_users, reconciling, replica_on, settled, start
from perijove.testing.waiting import until

LONG_AGO = timedelta(hours=5)


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
    async with replica_on(tmp_path, world, replica="replica-2") as second:
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
    async with replica_on(tmp_path, world, replica="replica-2") as second, reconciling(second):
        row = await settled(second, row)
        late = Change(values={"url": "http://stale"}, release=True)
        with pytest.raises(LeaseLost):
            await write_step(hub, Step(lease, row, lambda _intent, _now: late))
    assert (await get_server(hub, "alice", "")).url == world.alive()[0].url


async def test_two_hubs_never_start_one_server_twice(tmp_path, hub, world):
    names = [f"user{n}" for n in range(30)]
    await add_users(hub, *names)
    async with replica_on(tmp_path, world, replica="replica-2") as second, reconciling(hub), reconciling(second):
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
        replica_on(tmp_path, world, active_server_limit=3) as first,
        replica_on(tmp_path, world, replica="replica-2", active_server_limit=3) as second,
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
    async with replica_on(tmp_path, world, concurrent_spawn_limit=1) as hub:
        await add_users(hub, "alice", "bob")
        await start(hub)
        with pytest.raises(LimitReached) as refused:
            await start(hub, "bob")
    assert 30 <= refused.value.retry_after_seconds <= 60


async def test_a_start_that_waits_for_its_own_stop_has_its_place(tmp_path, world):
    """It starts as soon as it has stopped, whoever else began meanwhile."""
    async with replica_on(tmp_path, world, concurrent_spawn_limit=1) as hub:
        await add_users(hub, "alice", "bob")
        await start(hub)
        async with hub.store.transaction() as tx:
            await tx.execute(update(servers).values(desired=Desired.STOPPED, observed=Observed.STOPPING))
        await start(hub)
        with pytest.raises(LimitReached):
            await start(hub, "bob")


async def test_failures_in_a_row_pause_starts_but_never_the_hub(tmp_path, world):
    async with replica_on(tmp_path, world, consecutive_failure_limit=2) as hub, reconciling(hub):
        await add_users(hub, "alice", "bob")
        hub.spawners.behaviour.fail_start = RuntimeError("broken image")
        for _ in range(2):
            row = await settled(hub, await start(hub))
            assert row.failure is not None
        with pytest.raises(LimitReached, match="last 2 server starts failed"):
            await start(hub, "bob")


async def test_a_refusal_by_policy_does_not_count_as_a_failure(tmp_path, world):
    async with replica_on(tmp_path, world, consecutive_failure_limit=1) as hub, reconciling(hub):
        await add_users(hub, "alice")
        hub.spawners.behaviour.fail_start = SpawnFailed("Not for you.", reason="policy", status=403)
        await settled(hub, await start(hub))
        hub.spawners.behaviour.fail_start = None
        assert (await settled(hub, await start(hub))).ready


async def test_named_servers_have_rules(hub, tmp_path, world):
    with pytest.raises(Invalid, match="lowercase"):
        await start(hub, name="Not A Name")
    async with replica_on(tmp_path, world, named_server_limit_per_user=1) as limited:
        await create_server(limited, user="bob", name="one", actor="bob")
        with pytest.raises(Invalid, match="maximum of 1"):
            await create_server(limited, user="bob", name="two", actor="bob")
    async with replica_on(tmp_path, world, allow_named_servers=False) as plain:
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


async def test_a_server_that_ended_by_itself_is_not_started_again_by_whoever_cleans_up_after_it(hub, world):
    """The first attempt to clean up fails; the next one, perhaps another hub's, knows that nobody wants a restart."""
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
        hub.spawners.behaviour.fail_stop = RuntimeError("not now")
        world.alive()[0].die(1)
        async with hub.store.transaction() as tx:
            await tx.execute(update(servers).values(next_poll=tx.now))
        await until(lambda: f"stop {row.id}" in world.calls)
        hub.spawners.behaviour.fail_stop = None

        async def clean() -> bool:
            async with hub.store.transaction() as tx:
                await tx.execute(update(servers).values(next_attempt=None))
            return (await get_server(hub, "alice", "")).pending is None

        await until(clean, every=0.05)
        row = await get_server(hub, "alice", "")
    assert (row.desired, row.observed) == (Desired.STOPPED, Observed.STOPPED)
    assert row.failure is not None
    assert row.failure["reason"] == "exited"
    assert world.calls.count(f"start {row.id}") == 1


async def test_idle_servers_are_culled_and_busy_ones_are_not(tmp_path, world):
    policy = CullOptions(enabled=True, timeout_seconds=3600)
    async with replica_on(tmp_path, world, cull=policy) as hub, reconciling(hub):
        await add_users(hub, "alice", "bob")
        idle, busy = await settled(hub, await start(hub, "alice")), await settled(hub, await start(hub, "bob"))
        async with hub.store.transaction() as tx:
            await tx.execute(update(servers).where(servers.c.id == idle.id).values(last_activity=tx.now - LONG_AGO))
        assert await culling.cull(hub) == 1
        assert (await settled(hub, idle)).observed is Observed.STOPPED
        assert (await get_server(hub, "bob", "")).ready
    assert [server.server_id for server in world.alive()] == [busy.id]


async def test_a_recorded_start_is_resumed_where_it_was(tmp_path, hub, world):
    """The row says `spawned`: the next hub waits for readiness instead of starting again."""
    async with reconciling(hub):
        row = await settled(hub, await start(hub))
    async with hub.store.transaction() as tx:
        await tx.execute(update(servers).values(observed=Observed.STARTING, phase=Phase.SPAWNED, next_poll=None))
    async with replica_on(tmp_path, world, replica="replica-2") as second, reconciling(second):
        row = await settled(second, row)
    assert row.ready
    assert world.calls.count(f"start {row.id}") == 1
