"""What `make bench` publishes: each row says what is wanted of it, and what is measured again replaces itself."""

import json
from dataclasses import asdict

import pytest
from bench import interruption, report, startup, two_hubs
from bench.__main__ import KEYS, STORED
from bench.measures import MEASURES, Row

HUB_ROWS = [*startup.ROWS, *(row for measure in MEASURES for row in measure.rows)]
ROWS = [*HUB_ROWS, *two_hubs.ROWS]


def test_no_two_rows_have_the_same_name():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_a_unit_and_a_target(row):
    assert row.unit
    assert row.target > 0


def test_what_is_stored_is_measured_on_every_database():
    assert {"start", "storm", "storm500", "activity", "tokens", "create", "listing", "idle"} <= STORED <= set(KEYS)


def test_a_ratio_above_one_is_in_our_favour_whichever_way_is_better():
    rate, time = Row("rate", "requests/s", 2), Row("time", "s", 2, more_is_better=False)
    assert report.result(rate, [8, 9, 10], [3], "other", "sqlite").ratio == 3
    assert report.result(time, [3], [8, 9, 10], "other", "sqlite").ratio == 3
    assert report.result(rate, [3], [2], "other", "sqlite").met is False


def test_measuring_a_part_again_replaces_its_rows_and_keeps_the_others(tmp_path):
    file = tmp_path / "results.json"
    row = Row("rate", "requests/s", 2)
    proxy = {"name": "rate", "part": "proxy", "ours": 1}
    # A row that was written when there was one database.
    old = {"name": "rate", "ours": 1}
    file.write_text(json.dumps([old, proxy]))
    mine = report.result(row, [4], [1], "other", "sqlite")
    postgres = report.result(row, [5], [1], "other", "postgresql")
    report.write([mine, postgres], file)
    assert json.loads(file.read_text()) == [asdict(mine), proxy, asdict(postgres)]
    again = report.result(row, [6], [1], "other", "postgresql")
    report.write([again], file)
    assert json.loads(file.read_text()) == [asdict(mine), proxy, asdict(again)]


def seen(times, bad=()):
    asker = interruption.Asker([], "/", "", times=list(times), began=0.0, ended=times[-1] if times else 9.0)
    asker.bad.update(bad)
    return asker


@pytest.mark.parametrize(
    ("event", "hub", "server", "kept"),
    [
        ("a hub is killed", seen([1, 2, 30]), seen([1, 2]), True),
        ("a hub is killed", seen([1, 2], ["503 with Retry-After"]), seen([1, 2]), False),
        ("a proxy is killed, behind another", seen([0.5, 1]), seen([0.5, 1]), True),
        ("a proxy is killed, behind another", seen([0.5, 2]), seen([0.5, 1]), False),
        ("the database restarts", seen([1], ["503 with Retry-After"]), seen([1]), True),
        ("the database restarts", seen([1], ["503"]), seen([1]), False),
        ("the database restarts", seen([1]), seen([1], ["503 with Retry-After"]), False),
    ],
)
def test_an_interruption_is_judged_by_what_failed_and_how_long_it_took(event, hub, server, kept):
    kept_by = {found.name: found.kept for found in interruption.EVENTS}
    assert kept_by[event]({interruption.HUB: hub, interruption.SERVER: server}) is kept


def test_who_is_never_answered_again_has_waited_until_the_end():
    assert seen([]).gap == 9.0
