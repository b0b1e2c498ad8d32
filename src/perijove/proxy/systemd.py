"""systemd's two conventions: sockets handed to us already listening, and being told that we are ready.

Both are a few environment variables; what reads them is handed the environment, so that tests need none.
"""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass, field

_FIRST_DESCRIPTOR = 3


@dataclass
class Activated:
    """Descriptors by what the unit calls them (`FileDescriptorName=`)."""

    public: list[int] = field(default_factory=list)
    redirect: list[int] = field(default_factory=list)
    api: list[int] = field(default_factory=list)


def activated(environ: MutableMapping[str, str]) -> Activated:
    """Take over what systemd passed to this very process. Names other than `http` (to be redirected) and `api`
    are the public side.
    """
    found = Activated()
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return found
    for number in range(int(count)):
        descriptor = _FIRST_DESCRIPTOR + number
        name = names[number] if number < len(names) else ""
        {"http": found.redirect, "api": found.api}.get(name, found.public).append(descriptor)
    return found


class Notifier:
    """Tells systemd how we are; says nothing where nobody listens."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        # Children must not speak in our name.
        self._place = environ.pop("NOTIFY_SOCKET", "")

    def __call__(self, *lines: str) -> None:
        if not self._place:
            return
        address = "\0" + self._place[1:] if self._place.startswith("@") else self._place
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.connect(address)
                sock.sendall("\n".join(lines).encode())
            except OSError:
                # The unit's type may have changed under us; serving goes on either way.
                self._place = ""
