"""Waiting for what another process does, with a deadline instead of a guess at how long it takes."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Value = TypeVar("Value")


@overload
async def until(condition: Callable[[], Awaitable[Value]], *, seconds: float = ..., every: float = ...) -> Value: ...
@overload
async def until(condition: Callable[[], Value], *, seconds: float = ..., every: float = ...) -> Value: ...
async def until(condition: Callable[[], Any], *, seconds: float = 10, every: float = 0.01) -> Any:
    """The first true value of `condition`. Raises `TimeoutError` that says what never came true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if loop.time() > deadline:
            raise TimeoutError(f"not true within {seconds} s: {_source(condition)} (last value {value!r})")
        await asyncio.sleep(every)


def _source(condition: Callable[..., object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
