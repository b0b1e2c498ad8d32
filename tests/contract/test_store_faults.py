"""What the store does when its server stops, dies, freezes, or when another hub falls silent in a transaction."""

import asyncio
import gc
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import insert, select, text

from perijove.domain.errors import DatabaseAway, Invalid, Unavailable
from perijove.store import database as store_module
from perijove.store import engines, schema
from perijove.store.database import Store
from perijove.store.tail import tail_forever
from perijove.testing.databases import PostgreSQL
from perijove.testing.tls import Authority
from perijove.testing.waiting import until

# asyncpg leaves the socket of a connection that is cancelled while it is made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected():
    """Where it was left, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture
async def store(own_server, monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE_SECONDS", 1.5)
    monkeypatch.setattr(engines, "SILENCE_SECONDS", 1)
    async with opened(own_server.create_database()) as store:
        yield store


@asynccontextmanager
async def opened(url, **options):
    store = await Store.open(url, **options)
    try:
        yield store
    finally:
        await store.close()


async def add_user(store: Store, name: str) -> None:
    async with store.transaction() as tx:
        await tx.execute(insert(schema.users), {"name": name, "admin": False, "created": tx.now})


async def names(store: Store) -> list[str]:
    async with store.read() as connection:
        found = await connection.execute(select(schema.users.c.name).order_by(schema.users.c.id))
        return list(found.scalars())


async def test_nobody_notices_a_restart_between_two_requests(own_server, store):
    await add_user(store, "ada")
    await asyncio.to_thread(own_server.restart)
    assert await names(store) == ["ada"]
    await add_user(store, "bob")
    assert await names(store) == ["ada", "bob"]


async def test_while_the_server_is_dead_everything_is_unavailable_and_then_goes_on(own_server, store):
    await add_user(store, "ada")
    await asyncio.to_thread(own_server.kill)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await names(store)
        with pytest.raises(Unavailable):
            await add_user(store, "lost")
    await asyncio.to_thread(own_server.start)
    await add_user(store, "bob")
    assert await names(store) == ["ada", "bob"]


async def test_a_server_that_dies_in_the_middle_of_a_transaction_keeps_nothing_of_it(own_server, store):
    async def torn() -> None:
        async with store.transaction() as tx:
            await tx.execute(insert(schema.users), {"name": "torn", "admin": False, "created": tx.now})
            await asyncio.to_thread(own_server.kill)
            await tx.execute(insert(schema.users), {"name": "lost", "admin": False, "created": tx.now})

    try:
        with pytest.raises(Unavailable):
            await torn()
    finally:
        await asyncio.to_thread(own_server.start)
    assert await names(store) == []


async def test_a_frozen_server_is_given_up_in_time_and_memory_is_not_trusted_meanwhile(own_server, store):
    loop = asyncio.get_running_loop()
    said: list[str] = []
    tail = asyncio.create_task(
        tail_forever(store, since=0, broken=lambda: said.append("broken"), mended=lambda: said.append("mended"))
    )
    try:
        await add_user(store, "ada")
        own_server.freeze()
        began = loop.time()
        waiting = asyncio.gather(names(store), *(add_user(store, f"lost{n}") for n in range(5)), return_exceptions=True)
        await until(lambda: said, seconds=2)
        assert said == ["broken"]
        assert [type(error) for error in await waiting] == [DatabaseAway] * 6
        assert loop.time() - began < 8, "waiters are not made to wait one after another"
    finally:
        own_server.thaw()
    try:
        await until(lambda: said == ["broken", "mended"])
        assert (await names(store))[0] == "ada"
    finally:
        tail.cancel()
        await asyncio.gather(tail, return_exceptions=True)


async def test_a_hub_that_falls_silent_in_a_transaction_does_not_hold_the_others_up(own_server, store, monkeypatch):
    """A frozen process, or one behind a cut network: its connection stays open, and its lock with it."""
    monkeypatch.setattr(store_module, "PATIENCE_SECONDS", 10)
    async with opened(store._url.render_as_string(hide_password=False)) as silent:
        inside, wake = asyncio.Event(), asyncio.Event()

        async def freeze() -> None:
            async with silent.transaction() as tx:
                await tx.execute(insert(schema.users), {"name": "late", "admin": False, "created": tx.now})
                inside.set()
                await wake.wait()

        frozen = asyncio.create_task(freeze())
        await inside.wait()
        await add_user(store, "ada")
        wake.set()
        with pytest.raises(Unavailable):
            await frozen
        await add_user(silent, "bob")
        assert await names(store) == ["ada", "bob"]


async def test_a_wrong_password_or_database_is_unavailable_and_its_message_shows_no_password(own_server):
    for url in (own_server.url("postgres", password="hunter2hunter2"), own_server.url("no_such_database")):
        with pytest.raises(Unavailable) as caught:
            await Store.open(url)
        assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
        assert own_server.password not in f"{caught.value} {caught.value.__cause__}"


def tls_in_use(server) -> str:
    if isinstance(server, PostgreSQL):
        return "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    return "SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'"


@pytest.mark.parametrize(
    ("postgresql", "mysql", "encrypted"),
    [
        ("sslmode=disable", "", False),
        ("sslmode=require", "ssl_mode=REQUIRED", True),
        ("sslmode=verify-full&sslrootcert={ca}", "ssl_ca={ca}", True),
        ("sslmode=verify-ca&sslrootcert={ca}&connect_timeout=3&keepalives=1", "ssl_ca={ca}&charset=utf8", True),
        ("ssl=require", "ssl_ca={ca}&ssl_verify_identity=false", True),
    ],
)
async def test_tls_options_mean_what_they_mean_to_the_blocking_drivers(own_server, postgresql, mysql, encrypted):
    query = (postgresql if isinstance(own_server, PostgreSQL) else mysql).format(ca=own_server.tls.ca)
    made = engines.engine(store_module.make_url(f"{own_server.create_database()}?{query}"), pool_size=1, writer=False)
    try:
        async with made.connect() as connection:
            assert bool((await connection.execute(text(tls_in_use(own_server)))).scalar_one()) is encrypted
    finally:
        await made.dispose()


@pytest.mark.parametrize(
    ("postgresql", "mysql"),
    [
        ("sslmode=verify-full&sslrootcert={other}", "ssl_ca={other}"),
        ("sslmode=verify-full&sslrootcert=/no/such/file", "ssl_ca=/no/such/file"),
    ],
)
async def test_a_server_that_the_authority_does_not_vouch_for_is_not_talked_to(own_server, postgresql, mysql, tmp_path):
    query = (postgresql if isinstance(own_server, PostgreSQL) else mysql).format(other=Authority(tmp_path).ca)
    with pytest.raises((Invalid, Unavailable)):
        await Store.open(f"{own_server.create_database()}?{query}")


async def test_options_of_the_pool_are_those_of_create_engine(own_server):
    given = {"pool_size": 2, "max_overflow": 1, "pool_recycle": 60, "connect_args": {"connect_timeout": 3}}
    async with opened(own_server.create_database(), options=given) as store:
        assert store._readers.pool.size() == 2
        async with store.read(), store.read(), store.read():
            assert store._readers.pool.overflow() == 1
