"""What the hub wrote about a user's server: the only trace of a pod that the cluster refused to make.

Quotas and admission answer whoever asks for the pod, and no event tells of it: where nothing was made there is
nothing that an event could be about. The hub writes that answer to its log, which needs no token to be read.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from perijove.kube.client import Client
from perijove.kube.errors import NotPermitted
from perijove.operate.pod_logs import last_lines
from perijove.operate.subjects import Subject, pods_of

# As far back as the cluster remembers events.
_SECONDS: Final = 3600.0
_LINES: Final = 5000
_LONGEST_DETAILS: Final = 500
_FAILED: Final = "server start failed"
_EVENTS: Final = frozenset({_FAILED, "server had a mishap", "server ended at its deadline"})
# `2026-01-02T03:04:05.678Z [warning  ] what happened [a.module] key=value other='with spaces'`
_CONSOLE: Final = re.compile(r"\S+ \[\w+ *\] (?P<event>.*?) +\[[\w.]+\] (?P<facts>.*)")
_FACT: Final = re.compile(r"""(\w+)=("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\S*)""")


@dataclass(frozen=True, slots=True)
class Told:
    time: str
    text: str
    # Of a start that came to nothing.
    failed: bool


async def told_by_the_hub(
    client: Client, namespace: str, subject: Subject, since_seconds: float | None = None
) -> list[Told]:
    """Of the subject's servers, oldest first."""
    since = min(since_seconds or _SECONDS, _SECONDS)
    found = []
    try:
        for pod in await pods_of(client, [namespace], Subject(component="hub")):
            for line in await last_lines(client, pod, count=_LINES, since_seconds=since):
                facts = facts_of(line.text)
                if _is_about(facts, subject):
                    found.append(Told(line.time, words_of(facts), facts["event"] == _FAILED))
    except NotPermitted:
        # Who may see events and no logs gets the story without the hub's part of it.
        return []
    return sorted(found, key=lambda told: told.time)


def facts_of(text: str) -> Mapping[str, Any]:
    """A line of either of the hub's formats; nothing for all others."""
    if text.startswith("{"):
        try:
            facts: Mapping[str, Any] = json.loads(text)
        except ValueError:
            return {}
        return facts
    if (found := _CONSOLE.fullmatch(text)) is None:
        return {}
    return {"event": found["event"], **{key: _value(value) for key, value in _FACT.findall(found["facts"])}}


def _value(text: str) -> str:
    if text[:1] not in ("'", '"'):
        return text
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        # Another program's idea of quotes.
        return text


def _is_about(facts: Mapping[str, Any], subject: Subject) -> bool:
    is_known = facts.get("event") in _EVENTS and facts.get("user") == subject.user
    return is_known and subject.server in (None, facts.get("server"))


def words_of(facts: Mapping[str, Any]) -> str:
    message, details = str(facts.get("message") or ""), " ".join(str(facts.get("details") or "").split())
    server = f" {facts['server']}" if facts.get("server") else ""
    more = f" ({details[:_LONGEST_DETAILS]})" if details else ""
    return f"{facts['event']}{server}: {message}{more}" if message else f"{facts['event']}{server}"
