"""Guessing of passwords: slowed down for an account, on all replicas together, and never for an address."""

import pytest
from sqlalchemy import func, select

from perijove.domain.errors import Forbidden, LimitReached, Unavailable
from perijove.services import throttle, tokens
from perijove.services.throttle import (
    FIRST_WAIT_SECONDS,
    FORGET_SECONDS,
    FREE_FAILURES,
    FREE_FAILURES_PER_ACCOUNT,
    MAX_WAIT_SECONDS,
)
from perijove.store import schema
from perijove.testing.context import bare_hub


@pytest.fixture
async def hub():
    async with bare_hub() as hub:
        yield hub


async def fail(hub, account, address="1", error=None):
    with pytest.raises(Forbidden if error is None else type(error)):
        async with throttle.attempt(hub, account, address):
            raise error or Forbidden("no")


async def waits(hub, account, address="1"):
    try:
        async with throttle.attempt(hub, account, address):
            return 0
    except LimitReached as error:
        return error.retry_after_seconds


async def test_some_failures_are_free_and_then_each_waits_longer(hub):
    for _ in range(FREE_FAILURES):
        await fail(hub, "ada")
    seen = []
    for _ in range(10):
        with pytest.raises(LimitReached) as refused:
            await fail(hub, "Ada")
        seen.append(refused.value.retry_after_seconds)
        hub.clock.advance(seen[-1])
        await fail(hub, "ada")
    assert abs(seen[0] - FIRST_WAIT_SECONDS) <= 1
    assert seen == sorted(seen)
    assert abs(seen[-1] - MAX_WAIT_SECONDS) <= 1


async def test_one_address_with_many_people_is_never_throttled_as_such(hub):
    for number in range(60):
        await fail(hub, f"pupil{number}", "school")
    assert await waits(hub, "teacher", "school") == 0


async def test_one_account_from_many_addresses_is(hub):
    for number in range(FREE_FAILURES_PER_ACCOUNT):
        await fail(hub, "ada", f"bot{number}")
    assert await waits(hub, "ada", "anywhere") > 0


async def test_forms_without_a_name_are_counted_by_address_alone(hub):
    for number in range(FREE_FAILURES_PER_ACCOUNT):
        await fail(hub, "", f"bot{number}")
    assert await waits(hub, "", "anywhere") == 0


async def test_a_good_login_clears_its_own_address_only(hub):
    for _ in range(FREE_FAILURES - 1):
        await fail(hub, "ada", "1")
    for _ in range(FREE_FAILURES):
        await fail(hub, "ada", "2")
    assert await waits(hub, "ada", "1") == 0
    await fail(hub, "ada", "1")
    assert await waits(hub, "ada", "1") == 0
    assert await waits(hub, "ada", "2") > 0


async def test_an_authenticator_that_does_not_answer_is_nobodys_failure(hub):
    for _ in range(FREE_FAILURES + 1):
        await fail(hub, "ada", error=Unavailable("away"))
    assert await waits(hub, "ada") == 0


async def test_replicas_count_together_and_forget_together(tmp_path):
    url = f"sqlite:///{tmp_path}/hub.sqlite"
    async with bare_hub(url=url) as one, bare_hub(url=url) as other:
        for _ in range(FREE_FAILURES):
            await fail(one, "ada")
        assert await waits(other, "ada") > 0
        one.clock.advance(FORGET_SECONDS + 1)
        assert await waits(one, "ada") == 0
        await tokens.purge_expired(one)
        async with one.store.read() as connection:
            count = select(func.count()).select_from(schema.login_failures)
            assert (await connection.execute(count)).scalar_one() == 0


async def test_refusals_are_in_the_audit_trail_without_what_was_typed(hub):
    await fail(hub, "ada", "192.0.2.1")
    async with hub.store.read() as connection:
        row = (await connection.execute(select(schema.audit).where(schema.audit.c.action == "login"))).one()
    assert (row.actor, row.address, row.result, row.data) == ("ada", "192.0.2.1", "denied", {"why": "Forbidden"})
