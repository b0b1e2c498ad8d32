"""Whether services answer where their pages are: asked by one replica at a time, told by all.

What was found is one row of `meta`, which its one writer replaces: services are as few as an administrator writes
down, and no request waits for any of them.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, insert, select

from perijove.store.schema import meta

if TYPE_CHECKING:
    from perijove.services.context import HubContext

_KEY = "service_health"


class Health(msgspec.Struct, frozen=True):
    up: bool
    checked: datetime
    # When it came to be so.
    since: datetime
    # The address that was asked: what was found says nothing about another.
    url: str
    # "" when it is up.
    problem: str = ""
    # In a row.
    failures: int = 0


_DECODER = msgspec.json.Decoder(dict[str, Health])


async def health_of_all(hub: "HubContext") -> dict[str, Health]:
    """By service; those not asked yet are not in it."""
    async with hub.store.read() as connection:
        value = (await connection.execute(select(meta.c.value).where(meta.c.key == _KEY))).scalar()
    return _DECODER.decode(value) if value else {}


async def write(hub: "HubContext", found: dict[str, Health]) -> None:
    async with hub.store.transaction() as tx:
        await tx.execute(delete(meta).where(meta.c.key == _KEY))
        await tx.execute(insert(meta), {"key": _KEY, "value": msgspec.json.encode(found).decode()})


def following(before: Health | None, *, url: str, problem: str, now: datetime) -> Health:
    """What is known after one more look."""
    up = not problem
    same = before is not None and before.up is up and before.url == url
    failures = 0 if up else 1 + (before.failures if before is not None and same else 0)
    return Health(up, now, before.since if before is not None and same else now, url, problem, failures)


def is_due(known: Health | None, *, url: str, now: datetime, every: timedelta, longest: timedelta) -> bool:
    """Ever less often while nothing answers: it may have been given up."""
    if known is None or known.url != url:
        return True
    pause = every * (1 << min(known.failures // 3, 10))
    return now >= known.checked + min(pause, max(every, longest))
