"""The line between `perijove up` and each process it supervises: a socket pair with JSON lines.

It carries what `up` must know before it lets a child go on (the addresses and the login that the
configuration ends in: only the hub executes the configuration, once), and its end is the one sign
that a child's parent is gone, however it went. Then the child stops by itself, so that a killed
`up` leaves no process that holds ports; the user servers run on and are found again.
"""

import json
import os
import signal
import socket
import threading
from dataclasses import asdict, dataclass
from typing import Any, Self

from perijove.cli.exits import Exit

VARIABLE = "PERIJOVE_CONTROL_FD"
CONFIGURED = "configured"
GO = "go"
READY = "ready"
LEAVING = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFacts:
    """What the hub's configuration came to, as far as `up` needs it."""

    public_ip: str
    public_port: int
    base_url: str
    hub_url: str
    proxy_token: str
    # Where people open the hub, if users have hosts of their own below it: then it answers nowhere else.
    public_url: str = ""
    # `proxy.https`: files of the certificate and its key, or "" for plain HTTP.
    ssl_cert: str = ""
    ssl_key: str = ""
    # Why whoever reaches the port is let in without proof, or "" when a login protects it.
    unprotected: str = ""
    # Set when no authenticator was configured: the admin made for it and where the password is kept.
    admin: str = ""
    password_file: str = ""
    # The password itself, only in the run that generated it.
    new_password: str = ""


def encode(event: str, **data: Any) -> bytes:
    return json.dumps({"event": event, **data}).encode() + b"\n"


class Control:
    """A child's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = sock.makefile("rb")

    @classmethod
    def attach(cls) -> Self | None:
        """The line to the parent, or None when a person started this process."""
        number = os.environ.pop(VARIABLE, "")
        if not number:
            return None
        # User servers must not inherit it: they would hide the parent's end from nobody, but keep
        # ours open past our own.
        os.set_inheritable(int(number), False)
        return cls(socket.socket(fileno=int(number)))

    def configured(self, facts: HubFacts) -> None:
        """Tell, and wait for the parent's leave; end quietly when it refuses or is gone."""
        self._send(encode(CONFIGURED, **asdict(facts)))
        line = self._lines.readline()
        if not line or json.loads(line).get("event") != GO:
            raise SystemExit(Exit.OK)
        self.end_with_parent()

    def ready(self) -> None:
        self._send(encode(READY))

    def leaving(self, *, proxy: bool) -> None:
        """This process ends because somebody asked it to, and wants no successor. `proxy`: nor a proxy."""
        self._send(encode(LEAVING, proxy=proxy))

    def end_with_parent(self) -> None:
        """Turn the end of the line into SIGTERM, whose handler is the one way to stop cleanly."""
        threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def _watch(self) -> None:
        try:
            while self._lines.readline():
                pass
        except OSError:
            pass  # reset instead of end-of-file: the parent is gone either way
        os.kill(os.getpid(), signal.SIGTERM)

    def _send(self, line: bytes) -> None:
        try:
            self._sock.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            # The watcher, or the wait for leave, ends this process.
            return
