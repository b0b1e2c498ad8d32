"""Previous and next below a list that is too long for one page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Pager:
    """What `_parts.html` shows below a list; "" where there is no such page."""

    first: int
    last: int
    total: int
    previous: str
    following: str

    @property
    def needed(self) -> bool:
        return bool(self.previous or self.following)


def read_offset(query: Mapping[str, str], name: str = "offset") -> int:
    """Nonsense in an address counts as nothing."""
    typed = query.get(name, "")
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) <= _DIGITS else 0


def pager(shown: int, total: int, *, offset: int, limit: int, url: Callable[[int], str]) -> Pager:
    """`url` of the page that begins at an offset."""
    return Pager(
        first=offset + 1,
        last=offset + shown,
        total=total,
        previous=url(max(0, offset - limit)) if offset else "",
        following=url(offset + shown) if shown and offset + shown < total else "",
    )


def with_offset(page: str, name: str = "offset", **others: str) -> Callable[[int], str]:
    """Addresses of `page`; what is empty or zero is left out."""

    def url(offset: int) -> str:
        query = {key: value for key, value in {**others, name: str(offset) if offset else ""}.items() if value}
        return f"{page}?{urlencode(query)}" if query else page

    return url
