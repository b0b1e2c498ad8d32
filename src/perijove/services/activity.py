"""Last activity: the one write-behind buffer of the hub.

Times are kept in memory and written in one batch every few seconds. A crash of the process loses what
was not yet written (at most `FLUSH_SECONDS`): a server may then look idle for that much longer, which
the next report corrects. Nothing else may use this buffer. Times never move back: neither here nor in
the rows (the UPDATE compares).
"""

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perijove.services.context import HubContext

FLUSH_SECONDS = 5.0
# A user's or token's time is not moved for less than this: requests come in bursts.
RESOLUTION_SECONDS = 30.0


class ActivityBuffer:
    """What was seen and not yet written."""

    def saw_user(self, user_id: int, at: datetime) -> None:
        raise NotImplementedError

    def saw_server(self, server_id: int, at: datetime) -> None:
        raise NotImplementedError

    def saw_token(self, token_id: int, at: datetime) -> None:
        raise NotImplementedError

    def saw_session(self, session_id: int, at: datetime) -> None:
        raise NotImplementedError


async def flush(hub: "HubContext") -> int:
    """Write what is buffered; returns how many rows. Also called at shutdown."""
    raise NotImplementedError


async def flush_forever(hub: "HubContext") -> None:
    """Background task: flush every few seconds; a failed flush keeps its times for the next."""
    raise NotImplementedError


async def report(
    hub: "HubContext", user: str, *, last_activity: datetime | None, servers: dict[str, datetime]
) -> None:
    """A server's activity report. Raises `NotFound`, `Invalid` (unknown server, time more than 59 min ahead)."""
    raise NotImplementedError


async def report_routes(hub: "HubContext", times: dict[str, datetime]) -> None:
    """The proxies' report: route prefix (`/user/alice/`) to last activity. Unknown prefixes are ignored."""
    raise NotImplementedError
