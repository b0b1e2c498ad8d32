"""Servers: start, stop, read, create, change, and the stream of a start's progress.

Start and stop write intent and wait a little: 201 or 204 when it came true meanwhile, 202 when not yet.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from perijove.domain.errors import Conflict, Invalid, NotFound, SpawnFailed, Unavailable
from perijove.domain.names import clean_display_name
from perijove.domain.states import Observed
from perijove.services import progress, server_rows, servers, users
from perijove.services.identity import allows
from perijove.services.server_rows import ServerRow
from perijove.services.servers import StartOutcome, StopOutcome
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.errors import api_headers
from perijove.web.models import UserModels, server_model
from perijove.web.requests import as_object, read_json, read_optional_json

KEEP_ALIVE_SECONDS = 8.0


class ServerChange(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    display_name: str | None = None
    user_options: dict[str, Any] | None = None


class StopRequest(msgspec.Struct):
    remove: bool = False


async def read_server(call: Call) -> Response:
    return await _server(call, await server_rows.get_or_default(call.hub, call.path["user"], _name(call)))


async def list_servers(call: Call) -> Response:
    """By name, stopped ones too: those that the caller may read."""
    models = UserModels(call.hub, call.identity, stopped=True)
    user = await users.get_user(call.hub, call.path["user"], with_state=models.with_state)
    return call.json(models(user).get("servers", {}))


async def create_server(call: Call) -> Response:
    display_name, options = await _start_body(call)
    user, name = call.path["user"], _name(call)
    if not name:
        raise Conflict("The default server always exists")
    row = await servers.create_server(
        call.hub, user=user, name=name, actor=call.actor, display_name=display_name, options=options
    )
    return await _server(call, row, 201)


async def start_server(call: Call) -> Response:
    display_name, options = await _start_body(call)
    user, name = call.path["user"], _name(call)
    outcome, row = await servers.request_start(
        call.hub,
        user=user,
        name=name,
        options=options,
        display_name=display_name,
        actor=call.actor,
        address=call.address,
    )
    if outcome is StartOutcome.ALREADY_RUNNING:
        raise Invalid(f"{_shown(user, name)} is already running")
    if outcome is StartOutcome.ALREADY_PENDING:
        return call.empty(202, media_type="text/plain")
    settled = await progress.wait_settled(call.hub, row.id, call.hub.options.slow_spawn_timeout_seconds)
    if settled is not None and settled.ready:
        return call.empty(201, media_type="text/plain")
    if settled is not None and settled.pending is not None:
        return call.empty(202, media_type="text/plain")
    raise _why(settled, row)


def _why(settled: ServerRow | None, asked: ServerRow) -> Exception:
    """Why a start that is over did not end in a server."""
    failure = settled.failure if settled is not None else None
    if failure is None or settled is None or settled.generation != asked.generation:
        return SpawnFailed("Spawn cancelled", reason="cancelled", status=400)
    return SpawnFailed(
        str(failure.get("message", "")),
        reason=str(failure.get("reason", "error")),
        status=int(failure.get("status") or 500),
    )


async def change_server(call: Call) -> Response:
    change = await read_json(call.request, ServerChange)
    if change.name is None and change.display_name is None and change.user_options is None:
        raise Invalid("Nothing to change: need name, display_name or user_options")
    row = await servers.update_server(
        call.hub,
        user=call.path["user"],
        name=_name(call),
        actor=call.actor,
        new_name=change.name,
        display_name=change.display_name,
        options=change.user_options,
    )
    return await _server(call, row)


async def stop_server(call: Call) -> Response:
    wanted = await read_optional_json(call.request, StopRequest, StopRequest())
    user, name = call.path["user"], _name(call)
    if name and not call.hub.options.allow_named_servers:
        raise Invalid("Named servers are not enabled.")
    try:
        outcome, row = await servers.request_stop(
            call.hub, user=user, name=name, actor=call.actor, remove=wanted.remove, address=call.address
        )
    except NotFound:
        if name:
            raise
        # A default server that was never started is not running.
        return call.empty(204, media_type="text/plain")
    if outcome is StopOutcome.ALREADY_STOPPED and not wanted.remove:
        return call.empty(204, media_type="text/plain")
    settled = await progress.wait_settled(call.hub, row.id, call.hub.options.slow_stop_timeout_seconds)
    over = settled is None or (settled.observed is Observed.STOPPED and not wanted.remove)
    return call.empty(204 if over else 202, media_type="text/plain")


async def follow_progress(call: Call) -> Response:
    events = await progress.progress(call.hub, call.path["user"], _name(call))
    headers = {**api_headers(call.hub), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    # Not as `media_type`, to which Starlette adds a charset: clients compare the whole.
    headers["Content-Type"] = "text/event-stream"
    return StreamingResponse(_frames(events), headers=headers)


async def _frames(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Server-sent events; a blank line now and then keeps proxies from giving up on a slow start."""
    yield b"\n\n"
    coming: asyncio.Task[dict[str, Any]] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({coming}, timeout=KEEP_ALIVE_SECONDS)
            if not done:
                yield b"\n\n"
                continue
            try:
                event = coming.result()
            except (StopAsyncIteration, Unavailable):
                # Browsers ask again for a stream that ended early, and are told all of it, by whichever hub can.
                return
            coming = None
            yield b"data: " + msgspec.json.encode(event) + b"\n\n"
    finally:
        if coming is not None:
            coming.cancel()


async def _start_body(call: Call) -> tuple[str | None, dict[str, Any] | None]:
    """`{display_name?, user_options?}`, or, with neither key, an object that is all options (older clients).

    Options beside one of the keys mean nothing, to JupyterHub neither. No body: the options of the last start.
    """
    body = await read_optional_json(call.request, dict[str, Any] | None, None)  # type: ignore[arg-type] # a union is a form of type
    if not body:
        return None, None
    if "display_name" not in body and "user_options" not in body:
        return None, body
    display_name, options = body.get("display_name"), body.get("user_options")
    if display_name is not None:
        if not isinstance(display_name, str):
            raise Invalid("display_name must be a string", field="display_name")
        display_name = clean_display_name(display_name)
    return display_name, None if options is None else as_object(options, "user_options")


async def _server(call: Call, row: ServerRow, status: int = 200) -> Response:
    state = await allows(call.hub, call.identity, f"admin:server_state!server={row.full_name}")
    return call.json(server_model(call.hub, row.user_name, row, with_state=state), status)


def _name(call: Call) -> str:
    return call.path.get("server", "")


def _shown(user: str, name: str) -> str:
    return f"{user}:{name}" if name else user


_SERVER = {
    "GET": Operation(read_server, "read:servers!server"),
    "PUT": Operation(create_server, "start:servers!server"),
    "POST": Operation(start_server, "start:servers!server"),
    "PATCH": Operation(change_server, "start:servers!server"),
    "DELETE": Operation(stop_server, "delete:servers!server"),
}
_PROGRESS = {"GET": Operation(follow_progress, "read:servers!server")}

ENDPOINTS = [
    Endpoint("/users/{user}/server", **_SERVER),
    Endpoint("/users/{user}/server/progress", **_PROGRESS),
    # Not JupyterHub's, which has them in the user's model only.
    Endpoint("/users/{user}/servers", GET=Operation(list_servers, "read:servers!user")),
    Endpoint("/users/{user}/servers/", **_SERVER),
    Endpoint("/users/{user}/servers/{server}", **_SERVER),
    Endpoint("/users/{user}/servers//progress", **_PROGRESS),
    Endpoint("/users/{user}/servers/{server}/progress", **_PROGRESS),
]
