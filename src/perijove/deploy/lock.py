"""One deploy of a release at a time: a Lease, renewed while it runs.

A holder that was killed stops renewing; whoever waits sees that on its own clock, so that clocks need not agree,
and takes over. A holder that stood still that long (a suspended laptop) has lost the lock and notices before its
next write. On the holder's own machine a dead process is known to be dead at once.
"""

import asyncio
import getpass
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from perijove.deploy import names
from perijove.deploy.errors import AlreadyRunning, LockLost
from perijove.deploy.report import Report
from perijove.kube.client import Client
from perijove.kube.errors import ClusterUnavailable, KubeError, ObjectChanged, ObjectExists
from perijove.kube.refs import Object, Ref
from perijove.lib.clock import Clock, SystemClock

LEASE_SECONDS: Final = 15
RENEW_SECONDS: Final = 4.0
LOOK_SECONDS: Final = 1.0
RENEWING: Final = "renew the deploy lock"
# Of this process, whatever number it has.
_LIFE: Final = secrets.token_hex(4)


def _identity() -> str:
    """Who and where, for people; the end makes it unique."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # A container's user may have no name.
        user = f"uid-{os.getuid()}"
    return f"{user}@{_host()}/{process_number()}/{_LIFE}-{secrets.token_hex(4)}"


def _host() -> str:
    # Container runtimes set it to the pod's name, also where a pod has the name of its node.
    return os.environ.get("HOSTNAME") or socket.gethostname()


def process_number() -> int:
    return os.getpid()


@dataclass(kw_only=True)
class Lock:
    """Held inside of `held()`."""

    client: Client
    namespace: str
    release: str
    report: Report
    wait_seconds: float = 600
    clock: Clock = field(default_factory=SystemClock)
    identity: str = field(default_factory=_identity)
    _renewed: float = 0.0
    _lost: bool = False

    @property
    def ref(self) -> Ref:
        return Ref("coordination.k8s.io/v1", "Lease", names.bookkeeping(self.release), self.namespace)

    def check(self) -> None:
        """Before every write. Raises `LockLost`."""
        if self._lost or self.clock.monotonic() - self._renewed > LEASE_SECONDS:
            raise LockLost(
                "another deploy may have started, because this process stood still or could not reach the cluster",
                remedy="Run the same command again: it goes on where this one stopped.",
            )

    @asynccontextmanager
    async def held(self) -> AsyncIterator["Lock"]:
        """Raises `AlreadyRunning` when somebody else does not finish in time."""
        await self._take()
        renewing = asyncio.create_task(self._renew(), name=RENEWING)
        try:
            yield self
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._release()

    async def _take(self) -> None:
        deadline = self.clock.monotonic() + self.wait_seconds
        seen: tuple[object, float] = (None, 0.0)
        told = ""
        while True:
            lease = await self.client.find(self.ref)
            holder = (lease or {}).get("spec", {}).get("holderIdentity") or ""
            mark = (holder, ((lease or {}).get("spec") or {}).get("renewTime"))
            now = self.clock.monotonic()
            if mark != seen[0]:
                seen = (mark, now)
            free = not holder or _is_dead_here(holder) or now - seen[1] > _duration(lease)
            if free and await self._write(lease):
                return
            if holder and holder != told:
                told = holder
                words = f"another deploy of {self.release} is running, by {_who(holder)}; waiting for its end"
                self.report.waiting(words)
            if now > deadline:
                raise AlreadyRunning(
                    f"another deploy of {self.release} has been running for {self.wait_seconds:g} s, "
                    f"by {_who(holder)}; nothing was changed",
                    remedy="Wait for its end and try again. If it was interrupted, its lock ends by itself in "
                    f"{LEASE_SECONDS} s.",
                )
            await self.clock.sleep(LOOK_SECONDS)

    async def take_once(self) -> bool:
        """Without waiting; for whoever holds it without `held`."""
        return await self._write(await self.client.find(self.ref))

    async def _write(self, lease: Object | None) -> bool:
        """False where somebody else was quicker."""
        before = self.clock.monotonic()
        try:
            if lease is None:
                await self.client.create(self._lease(0), manager=names.MANAGER)
            else:
                transitions = int((lease.get("spec") or {}).get("leaseTransitions") or 0)
                spec = self._lease(transitions + 1)["spec"]
                await self.client.replace({**lease, "spec": spec}, manager=names.MANAGER)
        except (ObjectExists, ObjectChanged):
            # Perhaps by this very request, whose answer was lost: what is there now tells.
            found = await self.client.find(self.ref)
            if found is None or found["spec"].get("holderIdentity") != self.identity:
                return False
        # Counted from before the request: the lease may be as old as that.
        self._renewed = before
        self._lost = False
        return True

    def _lease(self, transitions: int) -> Object:
        now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": self.ref.api_version,
            "kind": "Lease",
            "metadata": {
                "name": self.ref.name,
                "namespace": self.namespace,
                "labels": names.labels(self.release, "lock"),
            },
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    async def _renew(self) -> None:
        while not self._lost:
            await self.clock.sleep(RENEW_SECONDS)
            before = self.clock.monotonic()
            try:
                lease = await self.client.find(self.ref)
                if lease is None or lease["spec"].get("holderIdentity") != self.identity:
                    self._lost = True
                    return
                now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                spec = {**lease["spec"], "renewTime": now}
                await self.client.replace({**lease, "spec": spec}, manager=names.MANAGER)
                self._renewed = before
            except (ClusterUnavailable, ObjectChanged):
                # `check` counts the seconds; the next look tells whether the lease is still ours.
                continue

    async def _release(self) -> None:
        try:
            lease = await self.client.find(self.ref)
            if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                await self.client.replace(
                    {**lease, "spec": {**lease["spec"], "holderIdentity": ""}}, manager=names.MANAGER
                )
        except KubeError as exc:
            # What the deploy came to is not to be hidden behind this: the lease ends by itself.
            self.report.note(f"the lock could not be given back and ends in {LEASE_SECONDS} s: {exc}")


def _duration(lease: Object | None) -> float:
    spec: dict[str, Any] = (lease or {}).get("spec") or {}
    return float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)


def _who(holder: str) -> str:
    """`ada@laptop (process 4711)`."""
    name, _, rest = holder.partition("/")
    process = rest.partition("/")[0]
    return f"{name} (process {process})" if process else name


def _is_dead_here(holder: str) -> bool:
    """Whether it was a process of this machine that is no more."""
    name, _, rest = holder.partition("/")
    process = rest.partition("/")[0]
    if name.rpartition("@")[2] != _host() or not process.isdigit():
        return False
    if int(process) == process_number():
        # A container that was started again has the same numbers as before.
        return not rest.partition("/")[2].startswith(_LIFE)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
