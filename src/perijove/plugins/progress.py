"""Iterates a plug-in's progress beside its start: not before `start()` was called, and not after it ended.

Plug-ins rely on both: some read in `progress()` what `start()` sets first, and some never end on their own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

log = logging.getLogger(__name__)

# For the last events of a generator that is about to end with the start.
DRAIN_SECONDS = 1.0


async def until_ended(
    progress: Callable[[], Any], begun: asyncio.Event, ended: asyncio.Event
) -> AsyncIterator[dict[str, Any]]:
    await _first_of(begun, ended)
    if not begun.is_set():
        return
    events = progress()
    finished = asyncio.create_task(ended.wait())
    try:
        while (event := await _next_event(events, finished)) is not None:
            yield event
    # A plug-in's progress is decoration: its failure must not fail the start it decorates.
    except Exception:
        log.exception("the spawner's progress() failed")
    finally:
        finished.cancel()
        if hasattr(events, "aclose"):
            await events.aclose()


async def _next_event(events: Any, finished: asyncio.Task[Any]) -> dict[str, Any] | None:
    step = asyncio.ensure_future(anext(events, None))
    try:
        await asyncio.wait({step, finished}, return_when=asyncio.FIRST_COMPLETED)
        if not step.done():
            await asyncio.wait({step}, timeout=DRAIN_SECONDS)
        return step.result() if step.done() else None
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
