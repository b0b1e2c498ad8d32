"""The access log: one line a request, buffered, written once a second.

Query strings may carry credentials (`?token=`); their values never reach the log.
"""

import json
import re
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from perijove.proxy.forward import Exchange

_SECRET = re.compile(r"((?:^|[?&;])[^=&;]*(?:token|password|secret|code|_xsrf)[^=&;]*=)[^&;]*", re.IGNORECASE)
_FIELD = re.compile(rb"\r\n(referer|user-agent):[\t ]*([^\r]*)", re.IGNORECASE)
_FLUSH_LINES = 500


class AccessLog:
    """`style`: combined or json."""

    def __init__(self, style: str, stream: TextIO | None = None) -> None:
        self._json = style == "json"
        self._stream = stream or sys.stdout
        self._lines: list[str] = []

    def note(self, exchange: "Exchange", seconds: float) -> None:
        head = exchange.head
        fields = {match[1].lower(): match[2].decode("latin-1") for match in _FIELD.finditer(head.raw)}
        target = _SECRET.sub(r"\1***", exchange.target.decode("latin-1"))
        address = exchange.client.downstream.address.decode()
        agent = fields.get(b"user-agent", "-")
        if self._json:
            line = json.dumps(
                {
                    "time": time.time(),
                    "client": address,
                    "method": head.method.decode(),
                    "path": target,
                    "status": exchange.status,
                    "bytes": exchange.sent,
                    "seconds": round(seconds, 6),
                    "route": exchange.route.prefix if exchange.route else None,
                    "user_agent": agent,
                    "request_id": exchange.request_id.decode(),
                }
            )
        else:
            referer = _SECRET.sub(r"\1***", fields.get(b"referer", "-"))
            moment = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime())
            request = f"{head.method.decode()} {target} HTTP/1.{head.minor}"
            line = (
                f"{address} - - [{moment}] {_quoted(request)} {exchange.status} {exchange.sent} "
                f"{_quoted(referer)} {_quoted(agent)}"
            )
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()


def _quoted(text: str) -> str:
    """A client must not be able to end its own field."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
