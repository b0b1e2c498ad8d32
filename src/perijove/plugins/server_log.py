"""Files that local servers write their output to: one a server, kept from the last start before this.

The hub opens the file and the server writes to it directly. A pipe through the hub would lose lines, and
block or kill the server, whenever the hub restarts.
"""

import os
import re
from pathlib import Path
from typing import BinaryIO

from perijove.domain.ids import ServerId

_TAIL_BYTES = 64 * 1024
# Colours and cursor movements: log lines are shown on pages and stored.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class ServerLog:
    def __init__(self, directory: Path, server_id: ServerId) -> None:
        self.path = directory / f"{server_id}.log"
        self.previous = directory / f"{server_id}.log.1"

    def open_fresh(self) -> BinaryIO:
        """For the next start. Appending, so that truncating the file from outside frees its space."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists():
            self.path.replace(self.previous)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "wb", buffering=0)

    def tail(self, count: int) -> tuple[str, ...]:
        """The last lines, oldest first, as text that is safe to show. Blocking, but short."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ()
        lines = (_ESCAPES.sub("", line).rstrip() for line in text.splitlines())
        return tuple(line for line in lines if line)[-count:]

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)
