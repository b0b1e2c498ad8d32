"""Who asked what, for tests to count."""

from collections import Counter
from dataclasses import dataclass, field

from perijove.testing.kube.api.request import RequestInfo


@dataclass(slots=True)
class LoggedRequest:
    info: RequestInfo
    method: str
    user: str
    agent: str
    # 0 while it is under way.
    status: int = 0
    # Of the answer's body; of a watch, until now.
    sent_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.status} {self.method} {self.info.path} by {self.user} ({self.agent})"


@dataclass
class RequestLog:
    entries: list[LoggedRequest] = field(default_factory=list)

    def add(self, entry: LoggedRequest) -> LoggedRequest:
        self.entries.append(entry)
        return entry

    def clear(self) -> None:
        self.entries.clear()

    def find(
        self,
        *,
        verb: str = "",
        resource: str = "",
        name: str = "",
        user: str = "",
        agent: str = "",
        status: int | None = None,
    ) -> list[LoggedRequest]:
        return [
            entry
            for entry in self.entries
            if verb in ("", entry.info.verb)
            and resource in ("", entry.info.resource)
            and name in ("", entry.info.name)
            and user in ("", entry.user)
            and entry.agent.startswith(agent)
            and status in (None, entry.status)
        ]

    def count(self, **which: str) -> int:
        return len(self.find(**which))  # type: ignore[arg-type]  # status is for find alone

    def sent_bytes(self, **which: str) -> int:
        found = self.find(**which)  # type: ignore[arg-type]  # as above
        return sum(entry.sent_bytes for entry in found)

    def by_agent(self) -> Counter[tuple[str, str, str]]:
        """(agent, verb, resource) -> how many."""
        return Counter((entry.agent, entry.info.verb, entry.info.resource) for entry in self.entries)
