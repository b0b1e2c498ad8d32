"""A seeded driver does to hubs, proxies and the database whatever can happen; after each step the checker looks.

`perijove.testing.model` says how. A failure prints its seed and the part of the story that bears on it; to see it
again: `MODEL_SEED=7 pytest tests/replicas/test_model_based.py`, and `MODEL_STEPS=20000` for a longer look.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from perijove.store import claims
from perijove.store.schema import servers
from perijove.testing.model.driver import WEIGHTS, ModelFailed, Outcome, run_model

STEPS = int(os.environ.get("MODEL_STEPS", "1000"))
# The same each time, so that a run that fails speaks of the change at hand; long runs look at others.
SEED = int(os.environ.get("MODEL_SEED", "130"))


def look(url: str, steps: int, *, seed: int = SEED, faults: frozenset[str] = frozenset(WEIGHTS)) -> Outcome:
    return run_model(url, seed_number=seed, steps=steps, faults=faults)


@pytest.mark.parametrize("new_database", ["sqlite", "postgres"], indirect=True)
def test_whatever_happens_to_hubs_proxies_and_the_database_all_settles_as_it_should(new_database: Callable[[], str]):
    outcome = look(new_database(), STEPS)
    sys.stdout.write(f"{outcome}\n")
    assert outcome.settled >= STEPS // 100
    assert outcome.changes > STEPS / 4
    assert outcome.starts > STEPS / 30


async def _nothing(*_args: Any, **_kwargs: Any) -> int:
    return 0


def _forgets_nothing(*_args: Any) -> None: ...


# Faults put into the product, what brings each to light, and what the checker says then.
MUTATIONS = {
    "settling without the lease's epoch and owner": (
        "perijove.store.claims.holds",
        lambda _lease, row: row is not None,
        ("start", "stop", "add_users"),
        "settled",
    ),
    "not counting servers": (
        "perijove.services.spawn_limits.check",
        _forgets_nothing,
        ("start", "add_users"),
        "servers start at once|servers are active",
    ),
    "not hearing of revocations": (
        "perijove.services.identity_cache.IdentityCache.forget",
        _forgets_nothing,
        ("make_credential", "use_credential", "revoke", "add_users"),
        "that was revoked at",
    ),
    "keeping a stopped server's credentials": (
        "perijove.services.server_steps.forget_credentials",
        _nothing,
        ("start", "stop", "add_users"),
        "tokens of it are valid",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_checker_finds_a_fault_that_is_there(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
    target, broken, happens, said = MUTATIONS[name]
    monkeypatch.setattr(target, broken)
    if target.endswith(".holds"):
        # Hubs overtake each other all the time, not only those that are frozen past a lease.
        monkeypatch.setattr(claims, "_WORK", select(servers.c.id, servers.c.lease_epoch).where(claims._TODO))
    monkeypatch.setattr("perijove.testing.model.driver.SETTLE_SECONDS", 200.0)
    with pytest.raises(ModelFailed, match=said):
        look(f"sqlite:///{tmp_path}/hub.sqlite", 600, seed=5, faults=frozenset(happens))
