"""What differs between two answers to one request, beyond ids, times and addresses."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from perijove.testing.sidebyside.script import Step
from perijove.testing.sidebyside.sending import Answer, cookie_shapes

HEADERS = (
    "content-type",
    "location",
    "allow",
    "www-authenticate",
    "cache-control",
    "retry-after",
    "link",
    "x-jupyterhub-version",
    "access-control-allow-origin",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "content-security-policy",
)
_SAID_OR_NOT = ("etag",)
_TIMES = frozenset({"created", "created_at", "last_activity", "started", "expires_at", "last_exchanged_at"})
# Of which nothing but that there is one can be the same.
_OPAQUE = frozenset({"pid", "session_id", "token", "code", "access_token", "sys_executable", "_xsrf"})
_PATTERNS = (
    (re.compile(r"https?://127\.0\.0\.1:\d+"), "<origin>"),
    (re.compile(r"127\.0\.0\.1(:|%3A)\d+"), "<host>"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"(state|code|_xsrf)(=|%3D)[\w%.~:|-]{8,}"), r"\1\2<secret>"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """`part`: `status`, `header.<name>`, `cookie.<name>` or `body.<path>`. Absent things are `—`."""

    step: Step
    part: str
    jupyterhub: str
    perijove: str

    def __str__(self) -> str:
        return f"{self.step}\n    {self.part}: {self.jupyterhub}  ≠  {self.perijove}"


def differences(step: Step, theirs: Answer, ours: Answer) -> Iterator[Difference]:
    if theirs.status != ours.status:
        # The rest follows from it.
        yield Difference(step, "status", _told(theirs), _told(ours))
        return
    pairs = [(f"header.{name}", _header(theirs, name), _header(ours, name)) for name in HEADERS]
    pairs += [(f"header.{name}", _said(theirs, name), _said(ours, name)) for name in _SAID_OR_NOT]
    cookies = cookie_shapes(theirs.cookies), cookie_shapes(ours.cookies)
    pairs += [
        (f"cookie.{_cookie(n)}", cookies[0].get(n, "—"), cookies[1].get(n, "—")) for n in {**cookies[0], **cookies[1]}
    ]
    for part, jupyterhub, perijove in (*pairs, *_bodies(theirs, ours)):
        if jupyterhub != perijove:
            yield Difference(step, part, jupyterhub, perijove)


def _told(answer: Answer) -> str:
    place = answer.headers.get("location")
    return f"{answer.status} → {plain(place)}" if place else str(answer.status)


def _cookie(name: str) -> str:
    return re.sub(r"oauth-state-.*", "oauth-state", name)


def _header(answer: Answer, name: str) -> str:
    value = answer.headers.get(name)
    if value is None:
        return "—"
    if name == "allow":
        return ", ".join(sorted(part.strip() for part in value.split(",")))
    # Spaces and case mean nothing here.
    if name == "content-type":
        return value.lower().replace(" ", "")
    # How much of a query is quoted is a matter of taste.
    return unquote(plain(value)) if name == "location" else plain(value)


def _said(answer: Answer, name: str) -> str:
    return "given" if name in answer.headers else "—"


def _bodies(theirs: Answer, ours: Answer) -> Iterator[tuple[str, str, str]]:
    """Pages are the work of other hands and are not compared; that both are pages is."""
    if 300 <= theirs.status < 400 and 300 <= ours.status < 400:  # noqa: PLR2004 - HTTP
        return
    if theirs.media == ours.media == "text/html":
        return
    yield from _compare("body", normal(_kind(theirs)), normal(_kind(ours)))


def _kind(answer: Answer) -> Any:
    return "<page>" if answer.media == "text/html" else answer.body


def _compare(path: str, theirs: Any, ours: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted({*theirs, *ours}):
            if key not in theirs or key not in ours:
                yield f"{path}.{key}", _shown(theirs, key), _shown(ours, key)
            else:
                yield from _compare(f"{path}.{key}", theirs[key], ours[key])
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, pair in enumerate(zip(theirs, ours, strict=True)):
            yield from _compare(f"{path}[{index}]", *pair)
    elif theirs != ours:
        yield path, _json(theirs), _json(ours)


def _shown(value: Mapping[str, Any], key: str) -> str:
    return _json(value[key]) if key in value else "—"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def normal(value: Any, key: str = "") -> Any:
    """Without what differs between two runs of one hub."""
    if isinstance(value, Mapping):
        return {plain(name): normal(item, name) for name, item in value.items()}
    if isinstance(value, list):
        items = [normal(item, key) for item in value]
        if key == "api_tokens":
            # By last use, which is some seconds old.
            return sorted(items, key=lambda token: (token["scopes"], token["note"]))
        return sorted(items) if all(isinstance(item, str) for item in items) else items
    if key in _OPAQUE and value not in ("", None):
        return f"<{key}>"
    return _text(value, key) if isinstance(value, str) else value


def _text(value: str, key: str) -> str:
    if key in _TIMES:
        return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", "<time>", value)
    if key in {"id", "token_id"}:
        return re.sub(r"\d+$", "<n>", value)
    if key == "scope":
        return " ".join(sorted(value.split()))
    if key == "url" and "?" in value:
        path, _, query = value.partition("?")
        return plain(f"{path}?{'&'.join(sorted(query.split('&')))}")
    return plain(value)


def plain(text: str) -> str:
    for pattern, stands in _PATTERNS:
        text = pattern.sub(stands, text)
    return text
