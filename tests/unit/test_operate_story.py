"""The order of a story, and what is read of the hub's lines: cases that a cluster shows once in a hundred times."""

import pytest

from perijove.operate.hub_lines import facts_of, words_of
from perijove.operate.story import Entry, status_entries

ENDED = {"terminated": {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-02T03:04:05Z"}}
LATE, SOURCE = "2026-01-02T03:04:06.010Z", "jupyter-ann/notebook"


def told(**status):
    """In order: a line that was stamped in the second after the end, and how the container ended."""
    pod = {"metadata": {"name": "jupyter-ann"}, "status": {"containerStatuses": [{"name": "notebook", **status}]}}
    entries = [Entry(LATE, SOURCE, "a line"), *status_entries(pod, {SOURCE: LATE})]
    return [entry.text for entry in sorted(entries, key=lambda entry: entry.order)]


def test_a_containers_last_line_comes_before_its_end_whatever_the_clock_says():
    assert told(state=ENDED) == ["a line", "ended: Error, exit code 3"]
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert told(lastState=ENDED, state=waiting)[:2] == ["a line", "ended: Error, exit code 3"]


def test_lines_of_the_run_after_come_after_the_end_of_the_one_before():
    assert told(lastState=ENDED, state={"running": {}}) == ["ended: Error, exit code 3", "a line"]


@pytest.mark.parametrize("line", ["", "Traceback (most recent call last):", "{not JSON", "2026 [info] no module"])
def test_other_lines_than_the_hubs_own_say_nothing(line):
    assert facts_of(line) == {}


def test_quotes_of_others_are_taken_as_they_are():
    assert facts_of(r"2026 [info     ] up [a.b] path='\N{nothing}'")["path"] == r"'\N{nothing}'"


def test_a_line_says_what_happened_to_which_server():
    line = (
        """2026-01-02T03:04:05Z [warning  ] server start failed [a.b] details='it isn\\'t' server=gpu user="o'neil\""""
    )
    facts = facts_of(line)
    assert facts == {"event": "server start failed", "details": "it isn't", "server": "gpu", "user": "o'neil"}
    assert words_of({**facts, "message": "No."}) == "server start failed gpu: No. (it isn't)"
    assert words_of({"event": "server ended at its deadline"}) == "server ended at its deadline"
