"""Who the hub's users are, and which claims their servers remember: from the hub's API, page by page.

Whether a volume is orphaned is only asked with this at hand: a list that is not whole would make orphans of people.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeVar

import aiohttp

from perijove.operate.errors import UsersUnknown

_PAGES: Final = "application/jupyterhub-pagination+json"
_PAGE: Final = 200
_TRIES: Final = 5
_SECONDS: Final = 30.0
_SCOPES: Final = "The token needs the scopes list:users, read:users, read:servers and admin:server_state."

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Remembered:
    """By whose server a claim is remembered."""

    user: str
    server: str
    last_used: str = ""


@dataclass(slots=True)
class People:
    # Where this is from, in words.
    origin: str
    servers: dict[str, list[str]] = field(default_factory=dict)
    # By namespace ("" where none is remembered) and claim.
    claims: dict[tuple[str, str], Remembered] = field(default_factory=dict)
    last_used: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, user: str) -> None:
        self.servers.setdefault(user, [])

    def add_server(self, user: str, name: str, state: Mapping[str, Any], last_used: str) -> None:
        self.servers.setdefault(user, []).append(name)
        self.last_used[user, name] = last_used
        if claim := state.get("pvc_name"):
            self.claims[str(state.get("namespace") or ""), str(claim)] = Remembered(user, name, last_used)

    def remembering(self, namespace: str, claim: str) -> Remembered | None:
        return self.claims.get((namespace, claim)) or self.claims.get(("", claim))


async def everybody(
    fetch: Callable[[int], Awaitable[tuple[list[Item], bool]]], name: Callable[[Item], str]
) -> list[Item]:
    """All pages of a list in the order in which users were added, `fetch` telling whether there are more.

    Each page begins with the end of the one before: where it does not, somebody was deleted meanwhile, and another
    one moved onto the page that was read already.
    """
    for _ in range(_TRIES):
        found, more = await fetch(0)
        while more and found:
            page, more = await fetch(len(found) - 1)
            if not page or name(page[0]) != name(found[-1]):
                break
            found += page[1:]
        else:
            return found
    raise UsersUnknown("the hub's users change faster than they can be listed", remedy="Try again later.")


async def ask_hub(url: str, token: str) -> People:
    """`url` is the hub's, as browsers use it or as services do (`…/hub/api`). Raises `UsersUnknown`."""
    api = _api(url)
    people = People(f"the hub at {api}")
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    headers = {"Authorization": f"token {token}", "Accept": _PAGES}
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=True) as session:

            async def fetch(offset: int) -> tuple[list[Any], bool]:
                page = await _page(session, f"{api}/users", offset)
                return page["items"], page["_pagination"]["next"] is not None

            for user in await everybody(fetch, lambda user: str(user["name"])):
                _take(people, user)
    except (aiohttp.ClientError, TimeoutError) as exc:
        words = str(exc) or "no answer"
        raise UsersUnknown(f"{people.origin} cannot be asked for its users: {words}", remedy="Check --hub.") from exc
    except (LookupError, TypeError, ValueError) as exc:
        raise UsersUnknown(f"{people.origin} answers as no hub does", remedy="Check --hub.") from exc
    return people


def _api(url: str) -> str:
    url = url.rstrip("/")
    if url.endswith("/hub/api"):
        return url
    return f"{url}/api" if url.endswith("/hub") else f"{url}/hub/api"


async def _page(session: aiohttp.ClientSession, url: str, offset: int) -> Any:
    query = {"offset": str(offset), "limit": str(_PAGE), "include_stopped_servers": "1"}
    async with session.get(url, params=query, allow_redirects=False) as response:
        if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise UsersUnknown(f"the hub does not accept the token ({response.status})", remedy=_SCOPES)
        if response.status != HTTPStatus.OK:
            raise UsersUnknown(f"{url} answers with {response.status}", remedy="Check --hub.")
        return json.loads(await response.read())


def _take(people: People, user: Mapping[str, Any]) -> None:
    name = str(user["name"])
    if "servers" not in user:
        raise UsersUnknown(f"the hub does not show this token the servers of {name}", remedy=_SCOPES)
    people.add(name)
    for server, facts in user["servers"].items():
        if "state" not in facts:
            # A renamed user's volume bears the old name, and only this says whose it is.
            raise UsersUnknown(f"the hub does not show this token what the servers of {name} remember", remedy=_SCOPES)
        people.add_server(name, str(server), facts["state"] or {}, str(facts.get("last_activity") or ""))
