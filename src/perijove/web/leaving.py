"""How a hub goes while others stay: no request that reached it goes unanswered, and no proxy is left talking to it.

A proxy keeps connections to its hubs. Were they simply closed, a request could be on its way just then; a GET is
asked for again elsewhere, but a POST may have happened and fails. So a leaving hub first answers for a while as
ever, and ends each connection with its answer. A proxy sends what it must not repeat only on a connection that
was busy within the last second (`proxy.upstream`); once that second is over, whatever is still open can be closed.
"""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

# The proxy's second, and what a request may take on its way.
FAREWELL_SECONDS = 1.25
_LOOK_SECONDS = 0.02
_CLOSE = (b"connection", b"close")


async def take_leave(server: "uvicorn.Server") -> None:
    """Returns when `server` may be told to exit: then it finishes what it is at and closes the rest."""
    state = server.server_state
    # Of requests to come; uvicorn makes the one from the other once a second.
    server.config.encoded_headers.append(_CLOSE)
    state.default_headers = [*state.default_headers, _CLOSE]
    for connection in list(state.connections):
        # Of those under way. An idle one would be closed by this, which is what must not happen yet.
        cycle = getattr(connection, "cycle", None)
        if cycle is not None and not cycle.response_complete:
            connection.shutdown()
    loop = asyncio.get_running_loop()
    until = loop.time() + FAREWELL_SECONDS
    while state.connections and loop.time() < until:  # noqa: ASYNC110 - uvicorn offers a set, no event
        await asyncio.sleep(_LOOK_SECONDS)
