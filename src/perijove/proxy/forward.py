"""One request and its response: between a client connection and a connection to a target.

The exchange owns the decisions (retry, early response, close or keep); bytes go straight from one transport to
the other. It ends exactly once, in `_finish`, `_give_up` or `client_lost`, and whatever arrives later finds no sink.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perijove.proxy.framing import BadFraming, ChunkedFraming, Framing, LengthFraming
from perijove.proxy.headers import client_head, new_request_id, upstream_head
from perijove.proxy.request_head import RequestHead
from perijove.proxy.response_head import BODILESS, ResponseHead
from perijove.proxy.table import HUB, Route
from perijove.proxy.upgrade import tunnel
from perijove.proxy.upstream import Pool, UpstreamConnection

if TYPE_CHECKING:
    from perijove.proxy.server import ClientConnection

_BAD_REQUEST = 400
_JOINED_BYTES = 65536
"""A first part of a body up to this size is copied behind its head: one write is cheaper than two."""
# Seconds before each round of knocking at hubs of which none answered.
_PAUSES = (0, 0.1, 0.2, 0.4)
# Of a request that may be repeated, at hubs.
_LEAST_TRIES = 2
_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))


class Exchange:
    """A request under way. `route` is None where there is none."""

    __slots__ = (
        *("client", "close", "decode_chunks", "framing", "head", "head_request", "held", "over", "received"),
        *("request_id", "route", "sent", "started", "status", "target", "tries", "upstream", "wants_upgrade"),
    )

    def __init__(self, client: "ClientConnection", head: RequestHead, target: bytes, route: Route | None) -> None:
        self.client = client
        self.head = head
        self.target = target
        self.route = route
        self.started = client.plane.time()
        self.upstream: UpstreamConnection | None = None
        self.head_request = head.method == b"HEAD"
        self.decode_chunks = head.minor == 0
        self.wants_upgrade = head.upgrade is not None
        self.close = head.close
        self.status = 0
        self.sent = 0
        self.tries = 0
        self.held = False
        self.over = False
        self.request_id = (head.request_id if client.downstream.trusted else None) or new_request_id()
        # The body still to come; None when all of the request is here.
        self.framing: Framing | None = None
        if head.chunked:
            self.framing = ChunkedFraming()
        elif head.length:
            self.framing = LengthFraming(head.length)

    # -- towards the target

    def start(self) -> None:
        """Send the request on: at once over an idle connection, else as soon as one is made."""
        pools = self._pools()
        if pools is None:
            return
        upstream = pools[0].take(repeatable=self._repeatable())
        if upstream is not None:
            self._attach(upstream)
        else:
            self.client.plane.spawn(self._connect(pools))

    def _pools(self) -> Sequence[Pool] | None:
        route = self.route
        assert route is not None
        try:
            return self.client.plane.upstreams.pools_for(route.target)
        except ValueError as error:
            self._complain("route leads nowhere", str(error))
            self.fail(503, "The address of this server is not usable.")
            return None

    async def _connect(self, pools: Sequence[Pool]) -> None:
        problem: Exception | None = None
        for pause in self._pauses():
            if pause:
                await asyncio.sleep(pause)
            for pool in () if self.over else pools:
                try:
                    upstream = await pool.connect()
                except (OSError, ValueError) as error:
                    problem = error
                    self._doubt(pool, str(error) or type(error).__name__)
                    continue
                if self.over:
                    pool.give_back(upstream)
                else:
                    # It owes an answer since now, not since another was asked.
                    upstream.heard = self.client.plane.time()
                    self._attach(upstream)
                return
        if not self.over:
            self._complain("target cannot be reached", str(problem) or type(problem).__name__)
            self.fail(503)

    def _pauses(self) -> Sequence[float]:
        """Before each round of knocking. Hubs that were there a moment ago are tried more than once.

        One address may lead to a dead hub and, asked again, to a living one; and a hub alone is back soon.
        """
        return _PAUSES if self._is_hubs() and self.client.plane.routing.connected else _PAUSES[:1]

    def _attach(self, upstream: UpstreamConnection) -> None:
        client = self.client
        self.upstream = upstream
        upstream.sink = self
        if not client.writable:
            upstream.pause_reading()
        place = upstream.pool.target
        rewriting = client.plane.rewriting
        if rewriting is None:
            head = self.head
            target = place.path + self.target if place.path else self.target
            if head.plain is not None and target is head.target:
                data = client.downstream.plain_head(head, head.plain, self.request_id)
            else:
                extra = client.downstream.lines(head, self.request_id)
                data = upstream_head(head, target, extra, place.authority)
        else:
            data = rewriting.head(self, place)
        upstream.transport.write(data)
        if self.framing is not None:
            client.upload_buffered()

    def _doubt(self, pool: Pool, problem: str) -> None:
        if self._is_hubs():
            self.client.plane.upstreams.hubs.doubt(pool, problem)

    def _is_hubs(self) -> bool:
        return self.route is not None and self.route.target is HUB

    def _ask_again(self) -> bool:
        """Send it to another hub, as often as there are hubs. False: it may have happened, or nobody is left.

        Whatever has an effect may have had it before its hub was lost, and is not asked for twice.
        """
        if not self._is_hubs() or not self._repeatable() or self.status:
            return False
        self.tries += 1
        pools = self._pools()
        # One address may stand for several hubs.
        if pools is None or self.tries >= max(_LEAST_TRIES, len(pools)):
            return False
        self._drop_upstream()
        self.client.plane.spawn(self._connect(pools))
        return True

    def hub_is_late(self) -> None:
        """The hub that this waits for does not even say how it is. What may have happened goes on waiting for it."""
        if self._ask_again():
            self._complain("hub is late", "no answer to a probe either; another is asked")

    def hub_is_gone(self) -> None:
        """The hub that this waits for, or whose answer it is passing on, says nothing any more."""
        self._complain("hub is silent", "no answer to a probe either")
        if self._ask_again():
            return
        self._drop_upstream()
        if self.status:
            self._truncated("silence")
        else:
            self.fail(503)

    def _repeatable(self) -> bool:
        return self.head.method in _SAFE and not self.head.has_body()

    def upload(self, data: bytes) -> bytes:
        """Pass on bytes of the request's body; what comes after it is returned."""
        framing = self.framing
        assert framing is not None
        try:
            body, rest = framing.feed(data)
        except BadFraming as error:
            self._drop_upstream()
            unanswered = not self.status
            self.status = self.status or _BAD_REQUEST
            self._give_up()
            self.client.refuse(_BAD_REQUEST, str(error), answer=unanswered)
            return b""
        if body and self.upstream is not None:
            self.upstream.transport.write(body)
        if framing.done:
            self.framing = None
        return rest

    def accepts_body(self) -> bool:
        return self.framing is not None and self.upstream is not None

    # -- from the target (ResponseSink)

    def interim(self, head: ResponseHead) -> None:
        if self.head.minor:
            self.client.send(client_head(head, close=False, chunked=True))

    def switch(self, head: ResponseHead, early: bytes) -> None:
        upstream, self.upstream = self.upstream, None
        assert upstream is not None
        assert self.route is not None
        self.status = 101
        self.over = True
        self.client.plane.record(self)
        tunnel(self.client, upstream, self.route, head.raw + early, self.head.upgrade or b"")

    def respond(self, head: ResponseHead, data: bytes, *, done: bool) -> bool:
        client = self.client
        if head.away and self._is_hubs():
            head.must_drop(b"x-perijove-away")
            if self.upstream is not None:
                self._doubt(self.upstream.pool, "its database is away")
            if self._ask_again():
                return True
        elif client.plane.upstreams.hubs.all_doubted and self._is_hubs() and self.upstream is not None:
            client.plane.upstreams.hubs.trust(self.upstream.pool)
        if head.revision is not None and self.route is not None and self.route.target == HUB:
            head.must_drop(b"x-perijove-revision")
            if not self.held and not client.plane.routing.reached(head.revision):
                self.held = True
                client.plane.routing.when_reached(head.revision, self._release)
                return False
        self.status = head.status
        # A response before the end of the request: what is left of the request can only be thrown away.
        self.close = self.close or head.until_close or self.framing is not None or client.plane.draining
        chunked = not self.decode_chunks and head.status not in BODILESS
        told = client_head(head, close=self.close, chunked=chunked, extra=client.fields)
        size = len(data) - len(head.raw)
        self.sent += size
        if told is head.raw:
            client.transport.write(data)
        else:
            body = data[len(head.raw) :]
            if size < _JOINED_BYTES:
                client.transport.write(told + body)
            else:
                client.transport.write(told)
                client.transport.write(body)
        if done:
            self._finish()
        return True

    def _release(self) -> None:
        if self.upstream is not None:
            self.upstream.release_hold()
        if self.upstream is not None and self.client.writable:
            self.upstream.resume_reading()

    def relay(self, body: bytes, *, done: bool) -> None:
        if body:
            self.sent += len(body)
            self.client.send(body)
        if done:
            self._finish()

    def upstream_writable(self, *, writable: bool) -> None:
        self.client.upload_possible(possible=writable)

    def upstream_lost(self, error: Exception | None) -> None:
        upstream, self.upstream = self.upstream, None
        if self.over or upstream is None:
            return
        if self.status:
            self._truncated(str(error or "closed"))
            return
        if upstream.reused and upstream.silent() and self._repeatable():
            # It was closed while our request was on its way.
            pools = self._pools()
            if pools is not None:
                self.client.plane.spawn(self._connect(pools))
            return
        self._complain("target closed the connection without answering", str(error or "closed"))
        self._doubt(upstream.pool, str(error or "closed without an answer"))
        if not (upstream.silent() and self._ask_again()):
            self.fail(503)

    def upstream_broken(self, reason: str) -> None:
        if self.over or self.upstream is None:
            return
        self._complain("target answered what is not HTTP", reason)
        self._drop_upstream()
        if self.status:
            self._truncated(reason)
        else:
            self.fail(502)

    # -- ends

    def fail(self, status: int, detail: str = "") -> None:
        """Answer with an error page, which may have to be asked of the hub."""
        if self.framing is not None:
            self.close = True
        self.client.plane.pages.answer(self, status, detail)

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        """Our own response. `head` without the last blank line."""
        if self.over:
            return
        self.status = status
        closing = b"Connection: close\r\n\r\n" if self.close or self.client.plane.draining else b"\r\n"
        self.close = self.close or self.client.plane.draining
        self.client.send(head + self.client.fields + closing + (b"" if self.head_request else body))
        self._finish()

    def target_silent(self) -> None:
        """It has said nothing for longer than the operator allows."""
        self._complain("target is silent", "no byte in time")
        self._drop_upstream()
        if self.status:
            self._truncated("silence")
        else:
            self.fail(503)

    def silent_since(self) -> float | None:
        """Since when the target owes us bytes; None when it does not."""
        upstream = self.upstream
        if upstream is None or self.framing is not None or upstream.paused:
            return None
        return max(self.started, upstream.heard)

    def client_lost(self) -> None:
        """Nobody waits for the response any more: the target is told by a closed connection."""
        if not self.over:
            self._drop_upstream()
            self.status = self.status or 499
            self._give_up()

    def _complain(self, event: str, problem: str) -> None:
        target = self.route.target if self.route is not None else ""
        self.client.plane.complaints.note(event, target=target, problem=problem, request_id=self.request_id)

    def _finish(self) -> None:
        upstream, self.upstream = self.upstream, None
        unsent = self.framing is not None
        if upstream is not None:
            if unsent:
                upstream.discard()
            else:
                upstream.pool.give_back(upstream)
        self._give_up()
        self.client.exchange_done(close=self.close, linger=unsent)

    def _truncated(self, reason: str) -> None:
        """The client must not take a part for the whole: cut, not closed cleanly."""
        self._complain("response cut short", reason)
        self._give_up()
        self.client.abort()

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.discard()

    def _give_up(self) -> None:
        self.over = True
        self.client.plane.record(self)
