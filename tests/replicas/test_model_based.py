"""A seeded driver does to hubs, proxies and the database whatever can happen; after each step the checker looks.

`perijove.testing.model` says how. A failure prints its seed and the part of the story that bears on it; to see it
again: `MODEL_SEED=7 pytest tests/replicas/test_model_based.py`, and `MODEL_STEPS=20000` for a longer look.
"""

import os
import secrets
from collections.abc import Callable
from datetime import timedelta

import pytest

from perijove.services import spawn_limits
from perijove.services.identity_cache import IdentityCache
from perijove.store import claims
from perijove.store.schema import servers
from perijove.testing.model.driver import ModelFailed, Outcome, run_model

STEPS = int(os.environ.get("MODEL_STEPS", "1000"))
SEED = int(os.environ.get("MODEL_SEED") or secrets.randbelow(1_000_000))
# With this one each fault below is found early.
MUTATED_SEED = 5


def look(url: str, steps: int, *, seed: int = SEED) -> Outcome:
    return run_model(url, seed_number=seed, steps=steps)


@pytest.mark.parametrize("new_database", ["sqlite", "postgres"], indirect=True)
def test_whatever_happens_to_hubs_proxies_and_the_database_all_settles_as_it_should(new_database: Callable[[], str]):
    outcome = look(new_database(), STEPS)
    print(outcome)
    assert outcome.settled >= STEPS // 100
    assert outcome.changes > STEPS / 4
    assert outcome.starts > STEPS / 20


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_a_seed_says_what_happens(new_database: Callable[[], str]):
    first, second = look(new_database(), 60, seed=1), look(new_database(), 60, seed=1)
    assert first.happened == second.happened
