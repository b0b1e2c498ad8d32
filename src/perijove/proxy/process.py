"""What every process of a proxy sets up for itself: the loop, file descriptors, the collector."""

import asyncio
import gc
import resource
from collections.abc import Callable
from contextlib import suppress

from perijove.proxy.options import ProxyOptions
from perijove.proxy.routing import Routing

# Kept back for the hubs, logs, the saved table and listeners.
_RESERVED_FILES = 128


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: a tenth faster."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_clients(options: ProxyOptions) -> int:
    """Each client may need a second descriptor towards its target."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return options.limits.clients or max(16, (files - _RESERVED_FILES) // 2)


def settle_memory(routing: Routing) -> None:
    """What is here now, and a table of a hundred thousand routes later, lives as long as we do: a collector that
    looks through it again and again only stops the traffic.
    """
    gc.collect()
    gc.freeze()
    routing.on_table.append(gc.freeze)
