"""Calls into plug-in code: sync or async alike, and noticed when it blocks.

Hooks in real configurations are often plain functions that read files or call services. They run on
the event loop, as they do in JupyterHub: moving them to threads would break those that create tasks or
futures. So the hub cannot prevent a blocking hook, but it says which one it was and for how long.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from inspect import isawaitable
from typing import Any

log = logging.getLogger(__name__)

BLOCKED_SECONDS = 0.5


async def call(what: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """`function(*args)`, awaited if it returns something awaitable."""
    return await settle(begin(what, function, *args, **kwargs))


def begin(what: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """The synchronous part of a call."""
    began = time.monotonic()
    try:
        return function(*args, **kwargs)
    finally:
        if (blocked := time.monotonic() - began) > BLOCKED_SECONDS:
            log.warning(
                "%s blocked the hub for %.1f s: make it `async def`, with slow calls in `asyncio.to_thread`",
                what,
                blocked,
            )


async def settle(result: Any) -> Any:
    if isinstance(result, ThreadFuture):
        return await asyncio.wrap_future(result)
    return await result if isawaitable(result) else result
