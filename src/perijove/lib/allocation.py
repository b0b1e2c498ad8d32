"""What a long-running process asks of the C library's allocator, where it is glibc's; others are left as they are.

A hub has a handful of threads that each do a little for SQLite. By default each gets a pool of memory of its own, and
what its start needed and gave up stays with the process for ever.
"""

import asyncio
import ctypes

# Of mallopt(3).
_M_ARENA_MAX = -8
# It takes a millisecond or two.
_PERIOD_SECONDS = 60


def use_one_arena() -> None:
    """For all threads to come: they wait for each other a moment, and share what they freed."""
    _libc("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """What is free, to the system."""
    _libc("malloc_trim", 0)


async def give_back_forever() -> None:
    """What bursts leave behind, after each: until cancelled."""
    while True:
        await asyncio.sleep(_PERIOD_SECONDS)
        give_back()


def _libc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
