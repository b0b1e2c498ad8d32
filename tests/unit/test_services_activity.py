"""Activity: buffered, written in batches, never backwards."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from perijove.domain.errors import Invalid, NotFound, Unavailable
from perijove.services import activity, identity, users
from perijove.services.activity import FLUSH_SECONDS
from perijove.store import schema
from perijove.testing.context import bare_hub
from perijove.testing.waiting import until


@pytest.fixture
async def hub():
    async with bare_hub() as hub:
        await users.create_users(hub, ["ann", "b@n é"], actor="test")
        async with hub.store.transaction() as tx:
            rows = [{"user_id": u, "name": n, "created": tx.now} for u, n in ((1, ""), (1, "gpu"), (2, ""))]
            await tx.execute(insert(schema.servers), rows)
        yield hub


async def rows(hub, table=schema.users):
    async with hub.store.read() as connection:
        found = await connection.execute(select(table.c.id, table.c.last_activity).order_by(table.c.id))
        return dict(found.all())


async def test_times_are_written_in_one_batch(hub):
    now = hub.clock.now()
    hub.activity.saw_user(1, now)
    hub.activity.saw_server(2, now)
    assert await rows(hub) == {1: None, 2: None}
    assert await activity.flush(hub) == 2
    assert await rows(hub) == {1: now, 2: None}
    assert (await rows(hub, schema.servers))[2] == now
    assert await activity.flush(hub) == 0


async def test_bursts_of_requests_move_a_time_once(hub):
    now, ann = hub.clock.now(), await identity.identify_user(hub, "ann")
    for second in range(29):
        hub.activity.saw_identity(ann, now + timedelta(seconds=second))
    assert hub.activity.last_user(ann.id) == now
    hub.activity.saw_identity(ann, now + timedelta(seconds=31))
    assert hub.activity.last_user(ann.id) == now + timedelta(seconds=31)


async def test_reports_are_taken_exactly(hub):
    """The last report before a pause is what idleness is counted from."""
    now = hub.clock.now()
    hub.activity.saw_server(1, now)
    hub.activity.saw_server(1, now + timedelta(seconds=1))
    assert hub.activity.last_server(1) == now + timedelta(seconds=1)


async def test_times_never_move_back_here_or_in_the_rows(hub):
    now = hub.clock.now()
    hub.activity.saw_user(1, now)
    await activity.flush(hub)
    hub.activity.saw_user(1, now - timedelta(hours=1))
    assert hub.activity.last_user(1) == now
    # Another replica wrote a later time than this one knows.
    later = now + timedelta(hours=2)
    async with hub.store.transaction() as tx:
        await tx.execute(schema.users.update().values(last_activity=later))
    hub.activity.saw_user(1, now + timedelta(hours=1))
    await activity.flush(hub)
    assert (await rows(hub))[1] == later


async def test_a_failed_flush_loses_nothing_and_newer_times_win(hub, monkeypatch):
    now = hub.clock.now()
    hub.activity.saw_user(1, now)
    hub.activity.saw_user(2, now)

    def broken(_store):
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(hub.store), "transaction", broken)
        with pytest.raises(Unavailable):
            await activity.flush(hub)
    hub.activity.saw_user(1, now + timedelta(minutes=1))
    assert await activity.flush(hub) == 2
    assert await rows(hub) == {1: now + timedelta(minutes=1), 2: now}


async def test_the_background_task_survives_a_database_that_is_away(hub, monkeypatch):
    failures = 0
    real = type(hub.store).transaction

    def broken(store):
        nonlocal failures
        failures += 1
        if failures == 1:
            raise Unavailable
        return real(store)

    monkeypatch.setattr(type(hub.store), "transaction", broken)
    hub.activity.saw_user(1, hub.clock.now())
    task = asyncio.create_task(activity.flush_forever(hub))

    async def written():
        hub.clock.advance(FLUSH_SECONDS)
        await asyncio.sleep(0)
        return (await rows(hub))[1] is not None

    await until(written)
    assert failures >= 2
    task.cancel()


async def test_a_report_needs_names_that_exist(hub):
    now = hub.clock.now()
    with pytest.raises(NotFound):
        await activity.report(hub, "nobody", last_activity=now, servers={})
    with pytest.raises(Invalid, match="No such server: 'cpu'"):
        await activity.report(hub, "ann", last_activity=now, servers={"gpu": now, "cpu": now})
    with pytest.raises(Invalid, match="future"):
        await activity.report(hub, "ann", last_activity=now + timedelta(hours=1), servers={})
    assert await activity.flush(hub) == 0
    await activity.report(hub, "ann", last_activity=now + timedelta(minutes=58), servers={"gpu": now, "": now})
    assert await activity.flush(hub) == 3


async def test_proxies_report_by_prefix(hub):
    now = hub.clock.now()
    later = now + timedelta(days=1)
    times = {
        "/user/ann/gpu/": now,
        "/user/b@n%20%C3%A9/": later,
        "/user/ann/missing/": now,
        "/services/x/": now,
        "/": now,
        "/user/": now,
        "nonsense": now,
    }
    await activity.report_routes(hub, times)
    await activity.flush(hub)
    # A proxy's clock may be ahead; ours decides.
    assert await rows(hub, schema.servers) == {1: None, 2: now, 3: now}
    assert await rows(hub) == {1: now, 2: now}


async def test_what_is_remembered_is_bounded(hub, monkeypatch):
    monkeypatch.setattr(activity, "MAX_REMEMBERED", 10)
    for user_id in range(100):
        hub.activity.saw_user(user_id, hub.clock.now())
    assert len(hub.activity._seen["user"]) <= 10
    assert await activity.flush(hub) == 100
