"""Trouble on demand: errors, slowness, hanging and broken connections for the next requests that match."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from perijove.testing.kube.api.request import RequestInfo
from perijove.testing.kube.objects.failures import ApiFailure, internal_error, too_many_requests

Match = Callable[[RequestInfo, str], bool]


class Dropped(Exception):
    """The connection breaks here, without an answer."""


@dataclass
class Fault:
    match: Match
    # How many requests are still to be met by it.
    times: int
    failure: ApiFailure | None = None
    # Wait this long before the request is handled (or fails).
    delay_seconds: float = 0
    drop: bool = False
    # Do the work, then drop: the client cannot know whether it was done.
    drop_answer: bool = False
    met: int = 0

    @property
    def exhausted(self) -> bool:
        return self.met >= self.times


@dataclass
class Faults:
    """Each maker takes how often, and which requests: by verb, resource (`pods`, `pods/log`), name, agent's start."""

    _armed: list[Fault] = field(default_factory=list)

    def answer(self, status: int, *, times: int = 1, retry_after: int = 1, message: str = "", **which: str) -> Fault:
        """429 (with Retry-After), 500, 503, 504 or any other."""
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            failure = too_many_requests(retry_after, message)
        elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
            failure = internal_error(message or "etcdserver: leader changed")
        else:
            phrase = HTTPStatus(status).phrase
            reason = {503: "ServiceUnavailable", 504: "Timeout"}.get(status, phrase.replace(" ", ""))
            failure = ApiFailure(status, reason, message or phrase)
        return self._arm(Fault(_matching(which), times, failure=failure))

    def slow(self, seconds: float, *, times: int = 1, **which: str) -> Fault:
        return self._arm(Fault(_matching(which), times, delay_seconds=seconds))

    def hang(self, *, times: int = 1, **which: str) -> Fault:
        """No answer for an hour: longer than anybody waits."""
        return self.slow(3600, times=times, **which)

    def drop(self, *, times: int = 1, after: bool = False, **which: str) -> Fault:
        """Break the connection: before the work is done, or `after`."""
        return self._arm(Fault(_matching(which), times, drop=not after, drop_answer=after))

    def clear(self) -> None:
        self._armed.clear()

    def _arm(self, fault: Fault) -> Fault:
        self._armed.append(fault)
        return fault

    async def strike(self, info: RequestInfo, agent: str) -> Fault | None:
        """Raises `ApiFailure` or `Dropped`; returns a fault that strikes after the work."""
        for fault in self._armed:
            if not fault.exhausted and fault.match(info, agent):
                fault.met += 1
                if fault.delay_seconds:
                    await asyncio.sleep(fault.delay_seconds)
                if fault.drop:
                    raise Dropped
                if fault.failure is not None:
                    raise fault.failure
                return fault
        return None


def _matching(which: dict[str, str]) -> Match:
    known = {"verb", "resource", "namespace", "name", "agent", "path"}
    if unknown := set(which) - known:
        raise TypeError(f"requests cannot be told by {sorted(unknown)}, only by {sorted(known)}")

    def match(info: RequestInfo, agent: str) -> bool:
        return all(
            (agent.startswith(value) if key == "agent" else getattr(info, key) == value) for key, value in which.items()
        )

    return match
