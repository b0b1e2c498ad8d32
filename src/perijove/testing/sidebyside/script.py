"""The script of requests: what is sent, by whom, and what later requests take from the answer.

    ## Users
    root POST ~/users {"usernames": ["ann"]}
    root POST ~/users/ann/tokens {"note": "hers"}
        save: ann = token
    ann GET ~/user
        Accept: application/json

`~` is `/hub/api`. The caller is a saved token, `anon`, or `name@` for a browser in which `name` is logged in (`@`: one
in which nobody is). Indented lines are headers, except for the directives in `_DIRECTIVES`. `$name` stands for what
was saved under that name: it differs between the two hubs.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# body: raw text. form: urlencoded fields, with the XSRF token added for browsers. save: name = path.in.body, or a
# pattern on the answer's text or Location. until: path.in.body = value, asked again until it holds. xsrf: off.
_DIRECTIVES = frozenset({"body", "form", "save", "until", "xsrf"})
_LINE = re.compile(r"(?P<caller>\S+) (?P<method>[A-Z]+) (?P<path>\S+)(?: (?P<json>.*))?")
_OPTION = re.compile(r"\s+(?P<name>[\w-]+):\s?(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Step:
    caller: str
    method: str
    path: str
    section: str
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    form: str | None = None
    save: tuple[tuple[str, str], ...] = ()
    until: str = ""
    xsrf: bool = True

    def __str__(self) -> str:
        """As the generated page and failures show it."""
        sent = f" {self.body}" if self.body else f" {self.form}" if self.form else ""
        extra = "".join(f" [{name}: {value}]" for name, value in self.headers)
        shown = sent if len(sent) <= 160 else f"{sent[:157]}…"  # noqa: PLR2004 - a line
        return f"{self.caller} {self.method} {self.path}{shown}{extra}"


@dataclass
class _Draft:
    caller: str
    method: str
    path: str
    section: str
    body: str | None
    headers: list[tuple[str, str]] = field(default_factory=list)
    options: list[tuple[str, str]] = field(default_factory=list)

    def step(self) -> Step:
        options = dict(self.options)
        return Step(
            self.caller,
            self.method,
            self.path,
            self.section,
            body=options.get("body", self.body),
            headers=tuple(self.headers),
            form=options.get("form"),
            save=tuple(_pair(value) for name, value in self.options if name == "save"),
            until=options.get("until", ""),
            xsrf=options.get("xsrf") != "off",
        )


def _pair(text: str) -> tuple[str, str]:
    name, _, where = text.partition("=")
    return name.strip(), where.strip()


def parse(text: str) -> Iterator[Step]:
    section = ""
    draft: _Draft | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            section = line[3:].strip()
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            option = _OPTION.fullmatch(line)
            if option is None or draft is None:
                raise ValueError(f"line {number}: {line!r} is neither a header nor a directive")
            kept = draft.options if option["name"] in _DIRECTIVES else draft.headers
            kept.append((option["name"], option["value"]))
            continue
        if draft is not None:
            yield draft.step()
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number}: {line!r} is no request")
        path = re.sub(r"^~", "/hub/api", found["path"])
        draft = _Draft(found["caller"], found["method"], path, section, found["json"])
    if draft is not None:
        yield draft.step()


def read(directory: Path) -> Sequence[Step]:
    """All scripts of a directory, in the order of their names."""
    return [step for path in sorted(directory.glob("*.txt")) for step in parse(path.read_text(encoding="utf-8"))]
