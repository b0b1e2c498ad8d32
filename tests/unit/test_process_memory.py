"""What a long-running process keeps out of its memory, and breaks nothing by it."""

import asyncio
import subprocess
import sys
import time

from perijove.lib import allocation, metrics
from perijove.testing.waiting import until


def ask(code):
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_who_logs_loads_no_painter_of_tracebacks_and_can_load_it_later():
    said = ask(
        "import sys, perijove.lib.log; print('rich' in sys.modules, 'pygments' in sys.modules)\n"
        "from perijove.lib.plain_tracebacks import load_mako; load_mako()\n"
        "print('mako.exceptions' in sys.modules, 'pygments' in sys.modules)\n"
        "import rich.traceback, pygments; print(rich.traceback.__name__)"
    )
    assert said == ["False", "False", "True", "False", "rich.traceback"]


def test_a_painter_that_is_loaded_stays_loaded():
    said = ask("import sys, rich, perijove.lib.log; print(sys.modules['rich'] is rich)")
    assert said == ["True"]


def test_memory_can_be_given_back_at_any_time_on_any_system(monkeypatch):
    allocation.use_one_arena()
    allocation.give_back()
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: object())
    allocation.use_one_arena()
    allocation.give_back()


async def test_a_blocked_event_loop_is_measured_also_while_the_process_does_nothing_else():
    def late():
        return sum(s.value for m in metrics.event_loop_interval.collect() for s in m.samples if s.name.endswith("_sum"))

    def count():
        return sum(
            s.value for m in metrics.event_loop_interval.collect() for s in m.samples if s.name.endswith("_count")
        )

    watching = asyncio.create_task(metrics.watch_loop())
    try:
        begun = count()
        await until(lambda: count() > begun + 1)
        before, looked = late(), count()
        # Longer than it sleeps between two looks, so that it is late whenever it went to sleep.
        time.sleep(2 * metrics.IDLE_LOOP_INTERVAL_SECONDS)  # noqa: ASYNC251 - what is to be measured
        await until(lambda: count() > looked)
        assert late() - before > metrics.IDLE_LOOP_INTERVAL_SECONDS
    finally:
        watching.cancel()


_REMEMBER = """
import gc, weakref
from perijove.lib.collector import put_aside_survivors
class Thing: pass
def cycle():
    thing = Thing(); thing.itself = thing; thing.more = [[] for _ in range(50)]
    return thing
kept = [[] for _ in range(1000)]
put_aside_survivors()
"""


def test_what_survives_a_full_collection_is_not_walked_again():
    said = ask(
        _REMEMBER + "kept += [[] for _ in range(100_000)]; gc.collect(); before = len(gc.get_objects())\n"
        "print(before < 10_000, gc.get_freeze_count() > 100_000)"
    )
    assert said == ["True", "True"]


def test_cycles_among_what_was_put_aside_are_found_when_it_has_grown():
    """Until then they wait: they are garbage that nobody found yet, not a leak."""
    said = ask(
        _REMEMBER + "lost = cycle(); gone = weakref.ref(lost); gc.collect(); del lost; gc.collect()\n"
        "print(gone() is None)\n"
        "for _ in range(40): kept += [[] for _ in range(20_000)]; gc.collect()\n"
        "print(gone() is None)"
    )
    assert said == ["False", "True"]
