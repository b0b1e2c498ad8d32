"""Allowances of expensive requests: a minute's worth at once, then as time goes by, each caller on their own."""

import pytest

from perijove.domain import rates
from perijove.domain.errors import LimitReached
from perijove.domain.rates import Rates


def test_who_spent_a_minutes_worth_waits_for_the_next():
    allowance = Rates({"export": 6})
    for _ in range(6):
        allowance.spend("export", "user", 1, now=100)
    with pytest.raises(LimitReached, match="6 a minute") as refused:
        allowance.spend("export", "user", 1, now=100)
    assert refused.value.retry_after_seconds == 10
    # Being refused costs nothing.
    allowance.spend("export", "user", 1, now=110)
    with pytest.raises(LimitReached):
        allowance.spend("export", "user", 1, now=110)


def test_callers_and_kinds_do_not_share():
    allowance = Rates({"export": 1, "list": 1})
    for caller in (("user", 1), ("user", 2), ("service", 1)):
        allowance.spend("export", *caller, now=0)
        allowance.spend("list", *caller, now=0)


def test_no_limit_is_none():
    allowance = Rates({"list": 0})
    for _ in range(100_000):
        allowance.spend("list", "user", 1, now=0)


def test_a_culler_of_a_hundred_thousand_users_is_let_through():
    """Pages of 50, each answered in five milliseconds."""
    allowance = Rates()
    for page in range(2000):
        allowance.spend("list", "service", 1, now=page * 0.005)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(rates, "_REMEMBERED", 100)
    allowance = Rates({"list": 60})
    for caller in range(1000):
        allowance.spend("list", "user", caller, now=caller * 2)
    assert len(allowance._whole) <= 100
