"""One instance of a managed service whatever happens to replicas and their database."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import psutil
import pytest

from perijove.config.options import ServiceOptions
from perijove.domain.errors import Unavailable
from perijove.reconcile import managed_services
from perijove.store.schema import leases
from perijove.testing import until
from perijove.testing.inside import hub_inside

PROGRAM = """
import os, signal, sys
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
signal.pause()
"""


@asynccontextmanager
async def unavailable() -> AsyncIterator[None]:
    raise Unavailable("The database is elsewhere.")
    yield


class Starts:
    """Every instance that there ever was, by process id."""

    def __init__(self, path) -> None:
        self.path = path
        self.service = ServiceOptions(name="svc", command=(sys.executable, "-c", PROGRAM, str(path)))

    @property
    def all(self) -> list[int]:
        return [int(line) for line in self.path.read_text().split()] if self.path.exists() else []

    @property
    def alive(self) -> list[int]:
        found = []
        for pid in self.all:
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found


@pytest.fixture
def starts(tmp_path, monkeypatch):
    monkeypatch.setattr(managed_services, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(managed_services, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(managed_services, "DOUBT_SECONDS", 1.0)
    return Starts(tmp_path / "starts")


async def test_a_moment_without_database_ends_no_service(tmp_path, starts, monkeypatch):
    async with hub_inside(tmp_path / "data", services=(starts.service,)) as inside:
        await until(lambda: len(starts.alive) == 1)
        asked = 0

        def counting():
            nonlocal asked
            asked += 1
            return unavailable()

        with monkeypatch.context() as patch:
            patch.setattr(inside.hub.store, "transaction", counting)
            await until(lambda: asked >= 3)
        await until(lambda: renewed(inside))
        assert starts.alive == starts.all
        assert len(starts.all) == 1
    assert starts.alive == []


async def renewed(inside) -> bool:
    """Two renewals after the database is back."""
    before = await expiry(inside)
    await until(lambda: later(inside, before))
    return True


async def later(inside, before) -> bool:
    return await expiry(inside) > before


async def expiry(inside):
    async with inside.hub.store.read() as connection:
        query = leases.select().where(leases.c.name == "service svc")
        return (await connection.execute(query)).one().expires


async def test_a_replica_in_long_doubt_about_its_lease_ends_the_service_before_another_may_start_it(
    tmp_path, starts, monkeypatch
):
    async with hub_inside(tmp_path / "data", services=(starts.service,)) as inside:
        await until(lambda: len(starts.alive) == 1)
        with monkeypatch.context() as patch:
            patch.setattr(inside.hub.store, "transaction", unavailable)
            await until(lambda: starts.alive == [])
        await until(lambda: len(starts.alive) == 1)
        assert len(starts.all) == 2


async def test_a_second_replica_waits_and_takes_over_when_the_first_leaves(tmp_path, starts):
    async with AsyncExitStack() as second, AsyncExitStack() as first:
        await first.enter_async_context(hub_inside(tmp_path / "data", services=(starts.service,)))
        await until(lambda: len(starts.alive) == 1)
        other = await second.enter_async_context(hub_inside(tmp_path / "data", services=(starts.service,)))
        # It has looked at least once when its clock is this far.
        began = other.hub.clock.monotonic()
        await until(lambda: other.hub.clock.monotonic() > began + 0.5)
        assert len(starts.all) == 1
        await first.aclose()
        await until(lambda: len(starts.alive) == 1 and len(starts.all) == 2)
