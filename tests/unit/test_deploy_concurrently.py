"""Several requests at once: the first failure ends the others and leaves nothing behind."""

import asyncio
import gc

import pytest

from perijove.lib.concurrently import all_of


async def test_work_cancelled_before_its_turn_is_closed():
    """A deploy that is given up in the middle of a look leaves no coroutine that nobody awaited."""

    async def look():
        await asyncio.Event().wait()

    work = [look() for _ in range(5)]
    task = asyncio.create_task(all_of(work, at_once=2))
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(one.cr_frame is None for one in work)
    gc.collect()


async def test_the_first_failure_is_raised_as_itself():
    async def fail():
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await all_of([fail(), asyncio.Event().wait()], at_once=2)
