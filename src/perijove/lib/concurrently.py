"""Several things at once, a few at a time, with the first failure as itself."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def all_of(work: Iterable[Coroutine[Any, Any, Result]], *, at_once: int) -> list[Result]:
    """Results in order. The first failure ends the others and is raised, not a group of them:
    callers say `except Refused`, and one reason is enough for a person."""
    gate = asyncio.Semaphore(at_once)

    async def one(task: Coroutine[Any, Any, Result]) -> Result:
        async with gate:
            return await task

    given = list(work)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(task)) for task in given]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        # Cancelled before its turn, a task never came to await what it was given.
        for task in given:
            task.close()
    return [task.result() for task in tasks]
