"""What the store promises, on each database: one writer, ordered revisions, fenced claims, exact names."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, update

from perijove.domain.errors import Conflict, Invalid
from perijove.domain.events import Event, Kind
from perijove.store import schema
from perijove.store.claims import (
    LEASE,
    claim_polls,
    claim_work,
    has_polls,
    has_work,
    release_of,
    renew,
    settle,
    still_held,
)
from perijove.store.database import Store
from perijove.store.tail import tail_forever

users, servers = schema.users, schema.servers


@pytest.fixture
async def store(database):
    async with opened(database) as store:
        yield store


@pytest.fixture
async def other(database, store):
    """A second replica's store on the same database."""
    async with opened(database) as other:
        yield other


@asynccontextmanager
async def opened(url):
    store = await Store.open(url)
    try:
        yield store
    finally:
        await store.close()


async def add_users(store: Store, *names: str) -> None:
    async with store.transaction() as tx:
        await tx.execute(insert(users), [{"name": name, "admin": False, "created": tx.now} for name in names])
        tx.emit(*(Event(Kind.IDENTITY, name) for name in names))


async def names_of(store: Store) -> list[str]:
    async with store.read() as connection:
        return list((await connection.execute(select(users.c.name).order_by(users.c.name))).scalars())


async def add_servers(store: Store, count: int, **values) -> None:
    await add_users(store, "ada")
    async with store.transaction() as tx:
        user_id = (await tx.execute(select(users.c.id))).scalar_one()
        rows = [{"user_id": user_id, "name": f"s{n}", "created": tx.now, "desired": "running"} for n in range(count)]
        await tx.execute(insert(servers), [{**row, **values} for row in rows])


async def age_leases(store: Store) -> None:
    """As if the holders had been silent for longer than a lease lasts."""
    async with store.transaction() as tx:
        await tx.execute(update(servers).values(lease_expires=tx.now - timedelta(seconds=1)))


async def test_two_replicas_that_begin_on_an_empty_database_agree_on_what_it_is_called(database):
    one, two = await asyncio.gather(Store.open(database), Store.open(database))
    try:
        assert (one.epoch, one.hub_id, one.cookie_secret) == (two.epoch, two.hub_id, two.cookie_secret)
        assert one.epoch
    finally:
        await one.close()
        await two.close()


async def test_no_server_is_claimed_twice_however_many_ask_at_once(store, other):
    await add_servers(store, 30)
    asked = [
        claim_work(replica, owner=f"replica-{n}", host=None, limit=4) for n, replica in enumerate([store, other] * 4)
    ]
    taken = [lease.server_id for leases in await asyncio.gather(*asked) for lease in leases]
    assert len(taken) == len(set(taken)) == 30
    assert await claim_work(store, owner="late", host=None, limit=4) == []
    assert not await has_work(store, host=None)


async def test_a_server_whose_holder_died_is_claimed_by_another_under_a_higher_epoch(store, other):
    await add_servers(store, 1)
    (first,) = await claim_work(store, owner="dead", host=None, limit=1)
    assert await claim_work(other, owner="heir", host=None, limit=1) == []
    await age_leases(store)
    (second,) = await claim_work(other, owner="heir", host=None, limit=1)
    assert (second.server_id, second.epoch) == (first.server_id, first.epoch + 1)


async def test_one_that_wakes_late_can_neither_settle_nor_renew_what_another_took_over(store, other):
    await add_servers(store, 2)
    old = await claim_work(store, owner="frozen", host=None, limit=2)
    await age_leases(other)
    (new,) = await claim_work(other, owner="heir", host=None, limit=1)
    lost, kept = (lease for lease in sorted(old, key=lambda lease: lease.server_id != new.server_id))
    async with store.transaction() as tx:
        assert list(await still_held(tx, [lost, kept])) == [kept.server_id]
    assert await renew(store, old) == {kept.server_id}
    async with other.transaction() as tx:
        assert list(await still_held(tx, [new])) == [new.server_id]
        await settle(tx, [(new.server_id, {"observed": "running"})], release=True)
    async with store.read() as connection:
        rows = await connection.execute(select(servers.c.id, servers.c.observed, servers.c.lease_owner))
        found = {row.id: (row.observed, row.lease_owner) for row in rows}
    assert found == {new.server_id: ("running", None), kept.server_id: ("stopped", "frozen")}


async def test_leases_last_by_the_database_clock_and_are_freed_for_a_replica_known_dead(store, other):
    await add_servers(store, 3)
    await claim_work(store, owner="dead", host=None, limit=3)
    async with other.transaction() as tx:
        expiries = (await tx.execute(select(servers.c.lease_expires))).scalars().all()
        assert all(tx.now < expires <= tx.now + LEASE for expires in expiries)
    assert await release_of(other, ["dead"]) == 3
    assert len(await claim_work(other, owner="heir", host=None, limit=9)) == 3


async def test_polls_that_are_due_are_claimed_and_servers_of_another_machine_are_not(store, other):
    past = datetime.now(UTC) - timedelta(minutes=10)
    await add_servers(store, 2, observed="running", next_poll=past, host="elsewhere")
    assert not await has_polls(other, host="here")
    assert await claim_polls(other, owner="here", host="here", limit=9) == []
    assert await has_polls(other, host="elsewhere")
    assert len(await claim_polls(other, owner="there", host="elsewhere", limit=9)) == 2


async def test_polls_that_will_be_due_soon_are_claimed_along_with_one_that_is(store):
    now = store.now()
    await add_servers(store, 3, observed="running")
    async with store.transaction() as tx:
        for name, seconds in (("s0", -60), ("s1", 60), ("s2", 600)):
            due = now + timedelta(seconds=seconds)
            await tx.execute(update(servers).where(servers.c.name == name).values(next_poll=due))
    assert await has_polls(store, host=None)
    taken = await claim_polls(store, owner="one", host=None, limit=9, ahead=timedelta(seconds=120))
    async with store.read() as connection:
        named = select(servers.c.name).where(servers.c.id.in_([lease.server_id for lease in taken]))
        assert set((await connection.execute(named)).scalars()) == {"s0", "s1"}
    assert not await has_polls(store, host=None), "what will be due is no reason to look"


async def test_a_limit_that_two_replicas_check_at_once_is_exact(store, other):
    async def add_if_below(replica: Store, name: str, limit: int) -> None:
        async with replica.transaction() as tx:
            have = (await tx.execute(select(func.count()).select_from(users))).scalar_one()
            if have < limit:
                await tx.execute(insert(users), {"name": name, "admin": False, "created": tx.now})

    await asyncio.gather(*(add_if_below((store, other)[n % 2], f"user{n}", 5) for n in range(20)))
    assert len(await names_of(store)) == 5


async def test_transactions_that_touch_the_same_rows_in_opposite_order_both_succeed(store, other):
    await add_users(store, "ada", "bob")

    async def touch(replica: Store, *names: str) -> None:
        for _ in range(10):
            async with replica.transaction() as tx:
                for name in names:
                    await tx.execute(update(users).where(users.c.name == name).values(last_activity=tx.now))
                    await asyncio.sleep(0)

    await asyncio.gather(touch(store, "ada", "bob"), touch(other, "bob", "ada"))


async def test_revisions_of_two_replicas_are_in_the_order_of_commits_without_gaps(store, other):
    await asyncio.gather(*(add_users((store, other)[n % 2], f"user{n}") for n in range(30)))
    async with store.read() as connection:
        rows = (await connection.execute(select(schema.outbox).order_by(schema.outbox.c.revision))).all()
        ids = dict((await connection.execute(select(users.c.name, users.c.id))).all())
    assert [row.revision for row in rows] == list(range(1, 31))
    assert [ids[row.key] for row in rows] == sorted(ids.values()), "ids are given in the order of transactions"
    assert await store.revision() == 30


async def test_what_one_replica_commits_the_other_hears_within_a_second(store, other):
    loop = asyncio.get_running_loop()
    tail = asyncio.create_task(tail_forever(other, since=0, broken=lambda: None, mended=lambda: None))
    try:
        with other.bus.subscribe() as events:
            for name in ("ada", "bob"):
                await add_users(store, name)
                told = loop.time()
                assert [event.key for event in await events.take(5)] == [name]
                assert loop.time() - told < 1
    finally:
        tail.cancel()
        await asyncio.gather(tail, return_exceptions=True)


async def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_works(store):
    with pytest.raises(Conflict):
        await add_users(store, "ada", "ada")
    await add_users(store, "bob")
    assert await names_of(store) == ["bob"]
    assert await store.revision() == 1


async def test_names_that_differ_by_case_accent_form_or_blanks_are_different_users_sorted_by_code_point(store):
    alike = ["Ada", "ada", "ada ", "adä", "ada\u0308", "ADA", "straße", "strasse", "İ", "i", "ı", "😀", "😁", "ﬀ", "ff"]
    await add_users(store, *alike)
    assert await names_of(store) == sorted(alike)
    async with store.read() as connection:
        for name in alike:
            found = (await connection.execute(select(users.c.name).where(users.c.name == name))).scalars().all()
            assert found == [name]
    with pytest.raises(Conflict):
        await add_users(store, "adä")


async def test_a_filter_by_name_finds_part_of_it_in_either_case_and_takes_wildcards_as_they_are(store):
    await add_users(store, "Ada_Lovelace", "ada", "bob%", "Adam")
    async with store.read() as connection:

        async def found(part: str) -> list[str]:
            like = users.c.name.icontains(part, autoescape=True)
            return list((await connection.execute(select(users.c.name).where(like).order_by(users.c.name))).scalars())

        assert await found("ADA") == ["Ada_Lovelace", "Adam", "ada"]
        assert await found("_") == ["Ada_Lovelace"]
        assert await found("%") == ["bob%"]
        assert await found("\\") == []


async def test_names_may_be_as_long_as_they_get(store):
    name = "😀" * 63 + "x" * 9
    client = f"jupyterhub-user-{'%F0%9F%98%80' * 63}{'x' * 9}-{'s' * 30}"
    async with store.transaction() as tx:
        await tx.execute(insert(users), {"name": name, "admin": False, "created": tx.now})
        values = {"id": client, "secret_hash": "", "redirect_uri": "/" * 4000}
        await tx.execute(insert(schema.oauth_clients), values)
        code = {"hashed": "h", "client_id": client, "user_id": 1, "redirect_uri": "/", "expires_at": tx.now}
        code["user_id"] = (await tx.execute(select(users.c.id))).scalar_one()
        await tx.execute(insert(schema.oauth_codes), code)
        tx.emit(Event(Kind.IDENTITY, "service:" + "n" * 255))
    async with store.read() as connection:
        joined = select(schema.oauth_codes.c.client_id).join(schema.oauth_clients)
        assert (await connection.execute(joined)).scalars().all() == [client]


async def test_a_name_too_long_for_its_column_is_refused_as_the_senders_mistake(store):
    if store.dialect == "sqlite":
        await add_users(store, "n" * 256)  # has no lengths; the rules above it do
        return
    with pytest.raises(Invalid):
        await add_users(store, "n" * 256)
    await add_users(store, "n" * 255)


async def test_json_comes_back_as_it_was(store):
    info = {"z": 1, "a": [None, True, 2**60, 0.1, "ü\u0000😀"], "": {"deep": {}}}
    async with store.transaction() as tx:
        await tx.execute(insert(users), {"name": "ada", "admin": True, "created": tx.now, "user_info": info})
    async with store.read() as connection:
        row = (await connection.execute(select(users.c.user_info, users.c.admin))).one()
    assert row.user_info == info
    assert list(row.user_info) == ["z", "a", ""]
    assert row.admin is True


async def test_times_come_back_to_the_microsecond_whatever_zone_the_server_lives_in(store):
    at = datetime(2026, 3, 29, 1, 30, 0, 123457, tzinfo=UTC)
    async with store.transaction() as tx:
        here = datetime.now(UTC)
        assert abs(tx.now - here) < timedelta(seconds=5)
        await tx.execute(insert(users), {"name": "ada", "admin": False, "created": at, "last_activity": tx.now})
    async with store.read() as connection:
        row = (await connection.execute(select(users.c.created, users.c.last_activity))).one()
        assert (await connection.execute(select(users.c.id).where(users.c.created == at))).first() is not None
    assert row.created == at
    assert row.last_activity == tx.now
    assert abs(store.now() - datetime.now(UTC)) < timedelta(seconds=5)


async def test_large_secrets_and_numbers_fit(store):
    state, started = b"\x00\xff" * 100_000, 1795181999.123457
    async with store.transaction() as tx:
        values = {"name": "ada", "admin": False, "created": tx.now, "encrypted_auth_state": state}
        await tx.execute(insert(users), values)
        replica = {"id": "r", "host": "h", "pid": 2**22, "process_started": started, "version": "1"}
        await tx.execute(insert(schema.replicas), {**replica, "started": tx.now, "heartbeat": tx.now})
    async with store.read() as connection:
        assert (await connection.execute(select(users.c.encrypted_auth_state))).scalar_one() == state
        assert (await connection.execute(select(schema.replicas.c.process_started))).scalar_one() == started


async def test_ids_of_deleted_rows_are_not_given_out_again(store):
    await add_servers(store, 2)
    async with store.transaction() as tx:
        gone = (await tx.execute(select(func.max(servers.c.id)))).scalar_one()
        await tx.execute(servers.delete())
    async with store.transaction() as tx:
        user_id = (await tx.execute(select(users.c.id))).scalar_one()
        made = await tx.execute(insert(servers).values(user_id=user_id, name="new", created=tx.now))
        assert made.inserted_primary_key[0] > gone
