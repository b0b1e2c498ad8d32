"""One operation on one server, done by a JupyterHub `Spawner` object.

The order of the hooks is JupyterHub's (their documented contract); what is added is that everything ends:
a start that ignores its cancellation is abandoned, a process that dies during it ends it at once, and
whatever a plug-in raises leaves here as `SpawnFailed`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.utils import utcnow

from perijove.domain.errors import SpawnFailed
from perijove.domain.last_lines import with_last_lines
from perijove.domain.ports import Exited, Mishap, ServerSpec
from perijove.plugins.calls import begin, call, settle
from perijove.plugins.endpoint import endpoint
from perijove.plugins.errors import details_of, spawn_failure
from perijove.plugins.jsonable import from_json, to_json
from perijove.plugins.local_process import MarkedProcess
from perijove.plugins.progress import until_ended
from perijove.plugins.watched import Watched

log = logging.getLogger(__name__)

# JupyterHub lets hooks run for ever. Real ones prepare volumes and accounts, so the bound is generous.
HOOKS_SECONDS = 300.0
# How long a cancelled `start()` may clean up before it is left alone.
ABANDON_SECONDS = 10.0
_WATCH_SECONDS = 0.1


class HostedSpawner:
    """Adapts one plug-in instance to `ports.Spawner`."""

    def __init__(
        self,
        plugin: Any,
        spec: ServerSpec,
        *,
        authenticator: Any,
        new_server: Callable[[], Any],
        live: dict[tuple[str, str], Any],
        keep: Callable[[], None] | None = None,
    ) -> None:
        """`keep` is called at the end if the last that was heard of the server is that it runs."""
        self.plugin = plugin
        self.spec = spec
        self._name = f"{spec.user.name}:{spec.name}" if spec.name else spec.user.name
        self._authenticator = authenticator
        self._new_server = new_server
        # Where handlers of plug-ins find the instance while it starts.
        self._live = live
        self._key = (spec.user.name, spec.name)
        self._keep = keep
        self._alive = False
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self.server_token_scopes: Sequence[str] = ()
        self.oauth_client_allowed_scopes: Sequence[str] = ()
        self.start_timeout_seconds = self.http_timeout_seconds = self.poll_interval_seconds = 0.0
        self._read_limits()

    def _read_limits(self) -> None:
        self.start_timeout_seconds = float(self.plugin.start_timeout)
        self.http_timeout_seconds = float(self.plugin.http_timeout)
        self.poll_interval_seconds = float(self.plugin.poll_interval)

    # -- start

    async def start(self) -> str:
        self._live[self._key] = self.plugin
        try:
            await self._prepare()
            result = await self._run_start()
            try:
                url = endpoint(result, self.plugin.server)
            except SpawnFailed as exc:
                raise await self._with_log(exc) from exc.__cause__
            self._record(url)
            return url
        finally:
            self._live.pop(self._key, None)
            self._ended.set()
            self.plugin._start_pending = False  # noqa: SLF001 - plug-ins read JupyterHub's state flags
            self.plugin._spawn_pending = False  # noqa: SLF001 - as above

    def _record(self, url: str) -> None:
        """`spawner.server` tells the address to whatever runs after the start."""
        parts, server = urlsplit(url), self.plugin.server
        if server is not None:
            server.proto, server.ip, server.port = parts.scheme, parts.hostname, parts.port

    async def _prepare(self) -> None:
        plugin, spec = self.plugin, self.spec
        plugin.orm_spawner.server = self._new_server()
        plugin.clear_state()
        plugin.api_token = spec.api_token
        plugin.user_options = from_json(spec.user_options)
        plugin._spawn_pending = plugin._start_pending = True  # noqa: SLF001 - plug-ins read JupyterHub's state flags
        try:
            async with asyncio.timeout(max(HOOKS_SECONDS, self.start_timeout_seconds)):
                if self._authenticator is not None:
                    await self._step("pre_spawn_start", self._authenticator.pre_spawn_start, plugin.user, plugin)
                auth_state = await plugin.user.get_auth_state()
                await self._step("auth_state_hook", plugin.run_auth_state_hook, auth_state)
                plugin.orm_spawner.started = plugin.orm_spawner.last_activity = utcnow(with_tz=False)
                await self._step("group_overrides", plugin.apply_group_overrides)
                await self._step("apply_user_options", plugin._run_apply_user_options, plugin.user_options)  # noqa: SLF001 - JupyterHub has no public name for it
                await self._step("pre_spawn_hook", plugin.run_pre_spawn_hook)
        except TimeoutError as exc:
            raise spawn_failure(exc, doing="running the hooks before the start") from exc
        self._read_limits()

    async def _step(self, what: str, function: Callable[..., Any], *args: Any) -> None:
        try:
            await call(what, function, *args)
        # SystemExit too: `sys.exit()` in a hook must fail a start, not end the hub.
        except (Exception, SystemExit) as exc:
            raise spawn_failure(exc, doing=f"running {what}") from exc

    async def _run_start(self) -> Any:
        task = asyncio.create_task(self._guarded_start())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.start_timeout_seconds
        watched = isinstance(self.plugin, MarkedProcess)
        try:
            while not task.done():
                left = deadline - loop.time()
                if left <= 0:
                    raise await self._timed_out()
                await asyncio.wait({task}, timeout=min(left, _WATCH_SECONDS) if watched else left)
                if watched and not task.done() and (code := self.plugin.exit_code()) is not None:
                    raise _died(code)
        except SpawnFailed as exc:
            raise await self._with_log(exc) from exc.__cause__
        finally:
            await _abandon(task, self._name)
        if task.cancelled():
            raise SpawnFailed("The spawner gave up starting the server.", reason="cancelled")
        result = task.result()
        if isinstance(result, BaseException):
            raise await self._with_log(spawn_failure(result, doing="starting the server")) from result
        return result

    async def _guarded_start(self) -> Any:
        """Returns what `start()` raised: raised in a task, SystemExit would end the event loop."""
        try:
            started = begin("Spawner.start()", self.plugin.start)
            self._begun.set()
            return await settle(started)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - handed to the caller whole
            return exc

    async def _timed_out(self) -> SpawnFailed:
        if isinstance(self.plugin, Watched) and (cause := await self.plugin.why_late()) is not None:
            return cause
        seconds = self.start_timeout_seconds
        return SpawnFailed(
            f"The server did not start within {seconds:g} seconds.",
            reason="timeout",
            details=f"Spawner.start() had not returned after start_timeout = {seconds:g} s. "
            "Raise Spawner.start_timeout if starts are merely slow here.",
        )

    async def _with_log(self, failure: SpawnFailed) -> SpawnFailed:
        if lines := await self.log_lines():
            failure.details = with_last_lines(failure.details, lines)
        return failure

    # -- the rest of its life

    async def poll(self) -> Exited | None:
        self._alive = False
        code_known = not isinstance(self.plugin, MarkedProcess) or self.plugin.proc is not None
        try:
            status = await call("Spawner.poll()", self.plugin.poll)
        except (Exception, SystemExit) as exc:
            log.warning("cannot tell whether %s runs", self._name, exc_info=exc)
            message = "The spawner cannot tell whether the server runs."
            raise SpawnFailed(message, reason="poll", details=details_of(exc)) from exc
        if status is None:
            self._alive = True
            return None
        cause = self.plugin.ended if isinstance(self.plugin, Watched) else None
        return Exited(int(status) if code_known else None, await self.log_lines(), cause)

    async def stop(self, *, now: bool = False) -> None:
        try:
            await self._end(now=now)
        except SpawnFailed:
            raise
        except (Exception, SystemExit) as exc:
            raise SpawnFailed(
                "The server could not be stopped; the hub will try again.",
                reason="stop",
                details=details_of(exc),
            ) from exc
        self.plugin.orm_spawner.server = None
        self.plugin.orm_spawner.started = None
        await self._after_stop("post_stop_hook", self.plugin.run_post_stop_hook)
        await self._after_stop("clear_state", self.plugin.clear_state)
        if self._authenticator is not None:
            await self._after_stop(
                "post_spawn_stop", self._authenticator.post_spawn_stop, self.plugin.user, self.plugin
            )

    async def _end(self, *, now: bool) -> None:
        try:
            running = await call("Spawner.poll()", self.plugin.poll) is None
        # Better a stop too many than a server nobody stops.
        except Exception as exc:
            log.warning("poll failed before stopping %s; stopping it anyway", self._name, exc_info=exc)
            running = True
        if running:
            # Old spawners take no `now`.
            await call("Spawner.stop()", self.plugin.stop, **({"now": True} if now else {}))
        elif isinstance(self.plugin, MarkedProcess | Watched):
            await self.plugin.sweep()

    async def _after_stop(self, what: str, function: Callable[..., Any], *args: Any) -> None:
        """The server is gone: a failing hook is the admin's to read about, not a reason to stop again."""
        try:
            await call(what, function, *args)
        except (Exception, SystemExit):
            log.exception("%s failed for %s", what, self._name)

    async def delete_forever(self) -> None:
        try:
            await call("Spawner.delete_forever()", self.plugin.delete_forever)
        except (Exception, SystemExit) as exc:
            raise SpawnFailed(
                "What belongs to the server could not be removed.", reason="delete", details=details_of(exc)
            ) from exc

    def progress(self) -> AsyncIterator[dict[str, Any]]:
        return until_ended(self.plugin.progress, self._begun, self._ended)

    async def ready_event(self, event: dict[str, Any]) -> dict[str, Any]:
        hook = self.plugin.progress_ready_hook
        if hook is None:
            return event
        try:
            changed = await call("progress_ready_hook", hook, self.plugin, dict(event))
        except (Exception, SystemExit):
            log.exception("progress_ready_hook failed for %s", self._name)
            return event
        return dict(changed) if changed else event

    def state(self) -> dict[str, Any]:
        try:
            state = to_json(self.plugin.get_state() or {})
        except Exception as exc:
            raise spawn_failure(exc, doing="saving the spawner's state") from exc
        return dict(state)

    async def log_lines(self, count: int = 30) -> tuple[str, ...]:
        if isinstance(self.plugin, Watched):
            return await self.plugin.tail(count)
        if not isinstance(self.plugin, MarkedProcess):
            return ()
        return await asyncio.to_thread(self.plugin.hosting.output.tail, count)

    @property
    def mishap(self) -> Mishap | None:
        return self.plugin.mishap if isinstance(self.plugin, Watched) else None

    def recovered_token(self) -> str:
        token = str(self.plugin.api_token or "")
        return "" if token == self.spec.api_token else token

    @property
    def will_resume(self) -> bool:
        return bool(self.plugin.will_resume)

    async def read_scopes(self) -> None:
        """Evaluate the two scope lists, which may be callables of the spawner."""
        self.server_token_scopes = await self._scopes("server_token_scopes")
        self.oauth_client_allowed_scopes = await self._scopes("oauth_client_allowed_scopes")

    async def _scopes(self, trait: str) -> Sequence[str]:
        value = getattr(self.plugin, trait)
        if callable(value):
            try:
                value = await call(f"Spawner.{trait}", value, self.plugin)
            except (Exception, SystemExit) as exc:
                raise spawn_failure(exc, doing=f"evaluating Spawner.{trait}") from exc
        return tuple(value or ())

    def close(self) -> None:
        self.plugin.stop_polling()
        self._ended.set()
        if self._keep is not None and self._alive:
            self._keep()


def _died(code: int) -> SpawnFailed:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return SpawnFailed(f"The server's process {how} while it was starting.", reason="crashed")


async def _abandon(task: asyncio.Task[Any], name: str) -> None:
    if task.done():
        return
    task.cancel()
    _, pending = await asyncio.wait({task}, timeout=ABANDON_SECONDS)
    if pending:
        log.error("Spawner.start() of %s ignores its cancellation; leaving it alone", name)
