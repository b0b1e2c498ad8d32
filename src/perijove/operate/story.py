"""Why a user's server does not start, as one story in the order of time: events, what containers say, last lines.

The cause is found by the same rules as the hub's own, so that an operator and an admin read the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from perijove.kube.client import Client
from perijove.kube.refs import Object
from perijove.operate.hub_lines import Told, told_by_the_hub
from perijove.operate.naming import Naming
from perijove.operate.pod_logs import last_lines
from perijove.operate.subjects import Subject, pods_of
from perijove.plugins import kube_causes
from perijove.plugins.kube_claims import claims_of
from perijove.plugins.kube_life import statuses_of

_KINDS: Final = frozenset({"Pod", "PersistentVolumeClaim"})


@dataclass(frozen=True, slots=True)
class Entry:
    # As the cluster writes it; "" where it does not say.
    time: str
    # As in `pod jupyter-ada`.
    source: str
    text: str
    warning: bool = False
    # After everything else of its second: known to the second, and the last of it.
    last: bool = field(default=False, repr=False)
    # Of the last line of what ended: written before, and stamped by its node perhaps in the second after.
    not_before: str = field(default="", repr=False)

    @property
    def order(self) -> str:
        # A whole second is before its parts only without the letter at the end. What has no time is of now.
        time = self.time.rstrip("Z")
        if time and self.not_before:
            time = max(time, self.not_before.rstrip("Z"))
        return f"{time}~" if self.last or not time else time

    def as_dict(self) -> dict[str, Any]:
        return {"time": self.time or None, "source": self.source, "text": self.text, "warning": self.warning}


@dataclass(frozen=True, slots=True)
class Story:
    # One line; "" where nothing is wrong.
    cause: str
    pods: Sequence[str]
    entries: Sequence[Entry]


async def read_story(
    client: Client,
    namespaces: Sequence[str],
    subject: Subject,
    naming: Naming,
    *,
    log_lines: int = 0,
    previous: bool = False,
    since_seconds: float | None = None,
) -> Story:
    """The first of the namespaces is the hub's."""
    pods = await pods_of(client, namespaces, subject)
    events = await _events(client, namespaces, subject, naming, pods)
    told = await told_by_the_hub(client, namespaces[0], subject, since_seconds) if subject.user else []
    entries = [event_entry(event) for event in events]
    entries += [Entry(one.time, "hub", one.text, warning=True) for one in told]
    for pod in pods:
        lines = []
        if log_lines:
            lines = await last_lines(client, pod, count=log_lines, previous=previous, since_seconds=since_seconds)
        own = [Entry(line.time, f"{pod['metadata']['name']}/{line.container}", line.text) for line in lines]
        entries += [*own, *status_entries(pod, {entry.source: entry.time for entry in own})]
    entries.sort(key=lambda entry: entry.order)
    return Story(_cause(subject, pods, events, told), [pod["metadata"]["name"] for pod in pods], entries)


async def _events(
    client: Client, namespaces: Sequence[str], subject: Subject, naming: Naming, pods: Sequence[Object]
) -> list[Object]:
    found: list[Object] = []
    for namespace in namespaces:
        items = (await client.list("v1", "Event", namespace)).items
        found += [event for event in items if is_about(event, subject, naming, pods)]
    return sorted(found, key=_order)


def _order(event: Object) -> tuple[str, int]:
    """Events know their time to the second only; within one, the order in which they were written is theirs."""
    revision = str(event["metadata"].get("resourceVersion") or "")
    return event_time(event).rstrip("Z"), int(revision) if revision.isdigit() else 0


def is_about(event: Object, subject: Subject, naming: Naming, pods: Iterable[Object]) -> bool:
    """Without a user or a component: everything of pods and claims."""
    about = event.get("involvedObject") or {}
    if about.get("kind") not in _KINDS:
        # What makes a component's pods says why there are none.
        return bool(subject.component) and str(about.get("name", "")).startswith(subject.component)
    if not subject.user and not subject.component:
        return True
    names = subject.names(naming)
    for pod in pods:
        names |= {pod["metadata"]["name"], *claims_of(pod)}
    return about.get("name") in names


def event_entry(event: Object) -> Entry:
    about = event.get("involvedObject") or {}
    kind = {"Pod": "pod", "PersistentVolumeClaim": "volume"}.get(about.get("kind", ""), about.get("kind", "").lower())
    count = int((event.get("series") or {}).get("count") or event.get("count") or 1)
    times = f" (x{count})" if count > 1 else ""
    text = f"{event.get('reason') or ''}{times}: {str(event.get('message') or '').strip()}"
    return Entry(event_time(event), f"{kind} {about.get('name', '')}", text, event.get("type") == "Warning")


def event_time(event: Object) -> str:
    series: dict[str, Any] = event.get("series") or {}
    made = (event.get("metadata") or {}).get("creationTimestamp")
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or made or "")


def status_entries(pod: Object, written: Mapping[str, str]) -> list[Entry]:
    """What containers do now, and how they ended before. `written` is the time of what each wrote last."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    entries = []
    for one in statuses_of(pod):
        source = f"{name}/{one['name']}"
        for which in ("lastState", "state"):
            state = one.get(which) or {}
            if ended := state.get("terminated"):
                # Lines of a run after this one come after it.
                is_newest = which == "state" or "waiting" in (one.get("state") or {})
                entries.append(_ended(source, ended, written.get(source, "") if is_newest else ""))
            elif waiting := state.get("waiting"):
                words = f"waits: {waiting.get('reason', '')} {waiting.get('message') or ''}".rstrip()
                entries.append(Entry("", source, words, waiting.get("reason") != "ContainerCreating"))
    if status.get("phase") == "Failed" and status.get("reason"):
        entries.append(Entry("", f"pod {name}", f"{status['reason']}: {status.get('message') or ''}", warning=True))
    return entries


def _ended(source: str, ended: Object, not_before: str) -> Entry:
    reason, code = ended.get("reason") or "", ended.get("exitCode")
    words = f"ended: {reason}, exit code {code}" if reason else f"ended: exit code {code}"
    if message := str(ended.get("message") or "").strip():
        words += f": {message}"
    return Entry(str(ended.get("finishedAt") or ""), source, words, bool(code), last=True, not_before=not_before)


def _cause(subject: Subject, pods: Sequence[Object], events: Sequence[Object], told: Sequence[Told]) -> str:
    if subject.component or not subject.user:
        return ""
    if not pods:
        if failures := [one.text for one in told if one.failed]:
            # What the cluster refused to make has no events.
            return f"There is no pod of {subject}. The hub said: {failures[-1]}"
        warnings = [event for event in events if event.get("type") == "Warning"]
        last = f" The last warning: {warnings[-1].get('message') or warnings[-1].get('reason')}" if warnings else ""
        return f"There is no pod of {subject}.{last}"
    for pod in reversed(pods):
        own = [event for event in events if (event.get("involvedObject") or {}).get("name") == pod["metadata"]["name"]]
        if (cause := kube_causes.starting(pod, own)) is not None:
            words = f" ({' '.join(cause.details.split())})" if cause.details else ""
            return f"{pod['metadata']['name']}: {cause.message}{words}"
    return ""
