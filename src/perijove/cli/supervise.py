"""Keep a hub and a proxy running side by side until told to stop.

Two processes, so that a crash of the hub cuts no notebook: the proxy goes on with the routes it has
while the hub is started again. During the first start any failure ends everything with the child's
own exit code, because a mistake in the configuration does not mend itself; afterwards a child that
ends is started again, for ever, with growing pauses.
"""

import asyncio
import signal
from collections.abc import Callable

from perijove.cli.child import Backoff, Child, ChildEnded, describe
from perijove.cli.control import CONFIGURED, LEAVING, READY, HubFacts
from perijove.cli.exits import Exit
from perijove.lib.log import get_logger

log = get_logger("perijove.up")

# Long enough for a hub to stop its users' servers where it is told to.
HUB_GRACE_SECONDS = 120.0
PROXY_GRACE_SECONDS = 15.0


class Supervisor:
    """`approve` may refuse what the configuration came to by raising; `announce` says it is up."""

    def __init__(
        self,
        *,
        hub: Child,
        proxy: Callable[[HubFacts], Child],
        approve: Callable[[HubFacts], None],
        announce: Callable[[HubFacts], None],
    ) -> None:
        self._hub = hub
        self._make_proxy = proxy
        self._approve = approve
        self._announce = announce
        self._proxy: Child | None = None
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Until SIGINT, SIGTERM or SIGHUP, or a failed first start. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        life = asyncio.create_task(self._life())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not life.cancel():
                # It ended by itself, which only failures do.
                await life
        except ChildEnded as ended:
            # A child that ends with one of our codes has said why itself.
            if ended.code not in (Exit.USAGE, Exit.UNAVAILABLE):
                log.warning("giving up: a child ended during its start", child=ended.name, how=describe(ended.code))
            return ended.code if ended.code in tuple(Exit) and ended.code else Exit.FAILURE
        finally:
            await asyncio.gather(life, stop, return_exceptions=True)
            await self._stop_children()
        return Exit.OK

    def _on_signal(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            return
        log.warning("told to stop a second time: killing hub and proxy; servers keep running")
        for child in self._children():
            child.signal(signal.SIGKILL)

    def _children(self) -> list[Child]:
        return [child for child in (self._hub, self._proxy) if child is not None]

    async def _life(self) -> None:
        await self._hub.start()
        facts = HubFacts(**await self._hub.expect(CONFIGURED))
        self._approve(facts)
        self._hub.go()
        # The proxy starts while the hub prepares its database.
        self._proxy = self._make_proxy(facts)
        await self._proxy.start()
        await self._proxy.expect(READY)
        await self._hub.expect(READY)
        self._announce(facts)
        await asyncio.gather(self._keep(self._hub), self._keep(self._proxy))

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while True:
            started = loop.time()
            code = await child.wait()
            if (wish := await child.said(LEAVING)) is not None:
                log.info("asked to shut down", child=child.name, proxy_too=wish["proxy"])
                if wish["proxy"]:
                    self._stop.set()
                # Else people go on in their servers, through the proxy, until this command is told to stop.
                return
            delay = backoff.after(loop.time() - started)
            log.warning("a child ended; starting it again", child=child.name, how=describe(code), in_seconds=delay)
            await asyncio.sleep(delay)
            await self._restart(child)

    async def _restart(self, child: Child) -> None:
        await child.start()
        if child is not self._hub:
            return
        try:
            await child.expect(CONFIGURED)
            child.go()
        except ChildEnded:
            # `_keep` sees the same end and goes on with a longer pause.
            return

    async def _stop_children(self) -> None:
        # The hub first: while it stops servers, the proxy still shows its pages.
        for child, grace in zip(self._children(), (HUB_GRACE_SECONDS, PROXY_GRACE_SECONDS), strict=False):
            if not await child.stop(grace):
                log.warning("a child did not stop in time and was killed", child=child.name, waited_seconds=grace)
