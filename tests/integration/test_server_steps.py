"""Steps of many servers in one transaction: each as if it were alone."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from perijove.domain.errors import Conflict, LeaseLost
from perijove.domain.states import Desired, Observed
from perijove.services.oauth import ServerClient
from perijove.services.server_rows import get_server
from perijove.services.server_steps import Change, Credentials, Step, write_step
from perijove.services.tokens import ServerToken
from perijove.store import claims
from perijove.store.schema import oauth_clients, outbox, servers, tokens
from perijove.testing.fake_spawner import FakeWorld
from perijove.testing.replica import add_users, progress_events, reconciling, replica_on, settled, start

NAMES = [f"user{number:02}" for number in range(20)]


@pytest.fixture
async def world():
    world = FakeWorld()
    yield world
    await world.close()


@pytest.fixture
async def hub(tmp_path, world):
    async with replica_on(tmp_path, world) as hub:
        await add_users(hub, *NAMES)
        yield hub


async def claimed(hub, count):
    rows = {row.id: row for row in [await start(hub, name) for name in NAMES[:count]]}
    leases = await claims.claim_work(hub.store, owner=hub.replica_id, host=None, limit=count)
    return [(lease, rows[lease.server_id]) for lease in leases]


def mark(lease, row, **change):
    values = {"observed": Observed.STARTING, "url": f"http://{row.user_name}", **change.pop("values", {})}
    made = Change(values=values, **change)
    return Step(lease, row, lambda _intent, _now: made)


def credentials(row, client_id):
    return Credentials(
        ServerClient(
            id=client_id,
            server_id=row.id,
            secret="s",
            redirect_uri=f"/user/{row.user_name}/oauth_callback",
            allowed_scopes=(),
            description="",
        ),
        ServerToken(
            token=f"token-of-{row.user_name}",
            user_id=row.user_id,
            user_name=row.user_name,
            server_id=row.id,
            server_name=row.name,
            scopes=(),
            url_path=f"/user/{row.user_name}/",
        ),
    )


async def all_of(hub, *steps):
    """Written together: they gather while somebody else writes."""
    async with hub.store.transaction():
        asked = asyncio.gather(*(write_step(hub, step) for step in steps), return_exceptions=True)
        await asyncio.sleep(0)
    return await asked


async def revisions(hub):
    async with hub.store.read() as connection:
        return set((await connection.execute(select(outbox.c.at))).scalars())


async def test_steps_that_wait_for_each_other_are_one_transaction(hub):
    held = await claimed(hub, 5)
    before = await revisions(hub)
    intents = await all_of(hub, *(mark(*each, event={"message": "begun"}) for each in held))
    assert [intent.desired for intent in intents] == [Desired.RUNNING] * 5
    assert len(await revisions(hub) - before) == 1
    for name in NAMES[:5]:
        assert (await get_server(hub, name, "")).url == f"http://{name}"


async def test_one_that_lost_its_lease_writes_nothing_and_the_others_do(hub):
    first, lost, last = await claimed(hub, 3)
    async with hub.store.transaction() as tx:
        over = {"lease_epoch": servers.c.lease_epoch + 1, "lease_expires": tx.now + timedelta(seconds=15)}
        await tx.execute(update(servers).where(servers.c.id == lost[1].id).values(over))
    intents = await all_of(hub, mark(*first), mark(*lost, event={"message": "late"}), mark(*last))
    assert isinstance(intents[1], LeaseLost)
    assert [(await get_server(hub, name, "")).observed for name in NAMES[:3]] == [
        Observed.STARTING,
        Observed.STOPPED,
        Observed.STARTING,
    ]


async def test_one_whose_oauth_client_is_anothers_is_refused_alone_and_keeps_no_token(hub):
    (lease, row), (other_lease, other), third = await claimed(hub, 3)
    steps = (
        mark(lease, row, credentials=credentials(row, "jupyterhub-user-same")),
        mark(other_lease, other, credentials=credentials(other, "jupyterhub-user-same")),
        mark(*third, credentials=credentials(third[1], "jupyterhub-user-third")),
    )
    results = await all_of(hub, *steps)
    assert [type(one) for one in results].count(Conflict) == 1
    assert isinstance(results[1], Conflict)
    async with hub.store.read() as connection:
        owners = set((await connection.execute(select(oauth_clients.c.server_id))).scalars())
        assert {row.id, third[1].id} <= owners
        assert other.id not in owners
        known = set((await connection.execute(select(tokens.c.server_id))).scalars())
        assert other.id not in known
        assert {row.id, third[1].id} <= known
    assert (await get_server(hub, other.user_name, "")).observed is Observed.STOPPED


async def test_what_is_wanted_is_looked_at_when_the_step_is_written(hub):
    """A stop that is asked for while the step waits for its turn is what it decides by."""
    ((lease, row),) = await claimed(hub, 1)
    seen = []

    def decide(intent, _now):
        seen.append(intent.desired)
        return Change(release=True)

    async with hub.store.transaction() as tx:
        asked = asyncio.ensure_future(write_step(hub, Step(lease, row, decide)))
        await asyncio.sleep(0)
        await tx.execute(update(servers).where(servers.c.id == row.id).values(desired=Desired.STOPPED))
    await asked
    assert seen == [Desired.STOPPED]


async def test_a_class_that_starts_at_once_gets_its_servers_in_few_transactions_with_every_event_in_order(hub):
    before = await revisions(hub)
    async with reconciling(hub):
        rows = await asyncio.gather(*(start(hub, name) for name in NAMES))
        assert all([(await settled(hub, row)).ready for row in rows])
        spent = len(await revisions(hub) - before)
    # One by one it would be five a server.
    assert spent < 2.5 * len(NAMES)
    for name in NAMES:
        told = await progress_events(hub, name)
        assert told[-1]["ready"]
