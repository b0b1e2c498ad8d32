"""What a supervisor and its workers say to each other: JSON lines over a socket pair, one struct a direction."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from perijove.proxy.metrics import Counts
from perijove.proxy.options import ProxyOptions
from perijove.proxy.routing import Change, WireTable

# In the environment of a worker: the descriptor of its end.
VARIABLE = "PERIJOVE_WORKER_FD"
# A table of a hundred thousand routes is one line.
LINE_BYTES = 1 << 30


class Start(msgspec.Struct):
    """The first line to a worker. The numbers are descriptors of listening sockets."""

    options: ProxyOptions
    public: list[int]
    redirecting: list[int]


class Down(msgspec.Struct, omit_defaults=True):
    """To a worker; each field on its own is a message."""

    table: WireTable | None = None
    change: Change | None = None
    connected: bool | None = None
    report: int | None = None
    """Wanted now, and answered with this number."""


class Up(msgspec.Struct, omit_defaults=True):
    """From a worker."""

    ready: bool = False
    revision: int | None = None
    """What it routes by."""
    touched: dict[str, float] = {}
    counts: Counts | None = None
    gauges: dict[str, float] = {}
    report: int | None = None


def encode(message: Start | Down | Up) -> bytes:
    return msgspec.json.encode(message, enc_hook=text_of) + b"\n"


def decode_start(line: bytes) -> Start:
    return msgspec.json.decode(line, type=Start, dec_hook=path_from)


async def open_line(descriptor: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Over one end of the socket pair."""
    return await asyncio.open_connection(sock=descriptor, limit=LINE_BYTES)


def text_of(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go over the wire")


def path_from(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise TypeError(f"{kind.__name__} does not come over the wire")
