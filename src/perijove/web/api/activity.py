"""Activity reports: what each single-user server posts every few minutes, and thousands of them together.

A server reports with its own token about its own user. For that the hub remembers, beside the token's identity,
which servers the user has; as what `me` keeps there it goes when the identity goes or one of the servers changes.
The times themselves go into the buffer that is written in batches, so such a report asks the database nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from perijove.domain.errors import Invalid
from perijove.lib import metrics
from perijove.services import activity
from perijove.services.activity import Reporter
from perijove.services.context import HubContext
from perijove.services.identity import token_entry
from perijove.services.identity_cache import CredentialEntry
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.fast import bearer, fixed_headers
from perijove.web.requests import MAX_JSON_BYTES, check_head, decode_json, read_body, request_id

PATH = "/users/{user}/activity"
_KEY = "POST activity"
_END: Message = {"type": "http.response.body", "body": b""}


class ServerActivity(msgspec.Struct):
    last_activity: str


class Activity(msgspec.Struct):
    last_activity: str | None = None
    servers: dict[str, ServerActivity] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    last_activity: datetime | None
    servers: Mapping[str, datetime]


def read_report(body: bytes) -> Report:
    """Raises `Invalid`."""
    sent = decode_json(body, Activity)
    if sent.last_activity is None and not sent.servers:
        raise Invalid("Need last_activity or servers in the body")
    return Report(
        _time(sent.last_activity) if sent.last_activity is not None else None,
        {name: _time(server.last_activity) for name, server in (sent.servers or {}).items()},
    )


def _time(text: str) -> datetime:
    """ISO 8601; without a zone it is UTC, as old servers send it."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"Not a valid timestamp: {text[:60]!r}", field="last_activity") from error


async def report_activity(call: Call) -> Response:
    report = read_report(await read_body(call.request, MAX_JSON_BYTES))
    await activity.report(call.hub, call.path["user"], last_activity=report.last_activity, servers=report.servers)
    return call.empty()


class OwnActivity:
    """The fast path: a token of a user's that may report about this user."""

    def __init__(self, hub: HubContext, prefix: str) -> None:
        """`prefix`: of the API's paths."""
        self._hub = hub
        self._start, self._end = (prefix + PATH).split("{user}")
        self._headers = [(b"content-length", b"0"), *fixed_headers(hub)]
        self._duration = metrics.request_duration.labels("POST", f"/api{PATH}", "200")

    def is_at(self, path: str) -> bool:
        return path.endswith(self._end) and path.startswith(self._start)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        began = perf_counter()
        token = bearer(scope)
        if token is None or not _is_short(scope):
            return receive
        entry = await token_entry(self._hub, token)
        if entry is None:
            return receive
        self._hub.activity.saw_identity(entry.identity, self._hub.store.now())
        name = scope["path"][len(self._start) : -len(self._end)]
        if not _may_report(entry, name):
            return receive
        message = await receive()
        if message["type"] != "http.request" or message.get("more_body"):
            return _again(message, receive)
        try:
            report = read_report(message["body"])
            whose = await self._reporter(entry, name)
            activity.note(self._hub, whose, last_activity=report.last_activity, servers=report.servers)
        except Invalid:
            return _again(message, receive)
        stamp = (b"x-request-id", request_id(scope).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*self._headers, stamp]})
        await send(_END)
        self._duration.observe(perf_counter() - began)
        return None

    async def _reporter(self, entry: CredentialEntry, name: str) -> Reporter:
        kept = entry.rendered.get(_KEY)
        if isinstance(kept, Reporter):
            return kept
        entry.rendered[_KEY] = None
        found = await activity.reporter(self._hub, name)
        # Only if no event cleared it while the rows were read.
        if _KEY in entry.rendered:
            entry.rendered[_KEY] = found
        return found


def _is_short(scope: Scope) -> bool:
    """Whether the request says that it is of a size that nobody refuses: its body then comes in one piece."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return value.isdigit() and int(value[:19]) <= MAX_JSON_BYTES and check_head(scope) is None
    return False


def _may_report(entry: CredentialEntry, name: str) -> bool:
    """By what the token itself holds; what it may by groups, or about others, is looked up by the ordinary way."""
    identity = entry.identity
    if identity.kind != "user" or identity.name != name or "/" in name:
        return False
    # Who is remembered was let in, and what a token may do does not change while it is remembered.
    return isinstance(entry.rendered.get(_KEY), Reporter) or identity.scopes.covers(f"users:activity!user={name}")


def _again(message: Message, receive: Receive) -> Receive:
    """The request once more, from its first message."""
    read = [message]

    async def replay() -> Message:
        return read.pop() if read else await receive()

    return replay


ENDPOINTS = [Endpoint(PATH, POST=Operation(report_activity, "users:activity!user"))]
