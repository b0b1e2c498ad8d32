"""Browsers in which a person is logged in, and ending those sessions: one, or all."""

import re
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import NotFound
from perijove.domain.ids import SessionId
from perijove.services.sessions import list_sessions, revoke_all_sessions, revoke_session
from perijove.web import cookies
from perijove.web.pages.view import Pages, text

# First match names it: other browsers' names contain "Chrome" and "Safari".
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrom", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True)
class SessionView:
    id: SessionId
    browser: str
    address: str
    created: datetime
    last_seen: datetime
    current: bool


async def show(pages: Pages, request: Request) -> Response:
    identity = await pages.user(request)
    found = [
        SessionView(
            row.id, browser_name(row.user_agent), row.address, row.created, row.last_seen, row.id == identity.session_id
        )
        for row in await list_sessions(pages.hub, identity.name)
    ]
    found.sort(key=lambda session: not session.current)
    return await pages.render(request, "sessions.html", here="sessions", sessions=found)


async def revoke(pages: Pages, request: Request) -> Response:
    identity = await pages.user(request)
    form = await pages.form(request)
    chosen = text(form, "session")
    if not chosen.isascii() or not chosen.isdigit():
        raise NotFound("No such session.")
    await revoke_session(pages.hub, identity.name, SessionId(int(chosen)), actor=identity.name)
    return pages.redirect(f"{pages.prefix}sessions", status=HTTPStatus.SEE_OTHER)


async def revoke_all(pages: Pages, request: Request) -> Response:
    identity = await pages.user(request)
    await pages.form(request)
    await revoke_all_sessions(pages.hub, identity.name, actor=identity.name)
    response = pages.redirect(f"{pages.prefix}login", status=HTTPStatus.SEE_OTHER)
    cookies.clear_login(pages.hub, request, response)
    return response


def browser_name(user_agent: str) -> str:
    """`Firefox on Linux`: enough to tell one's own browsers apart."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    plain = re.split(r"[\s/(]", user_agent.strip(), maxsplit=1)[0][:40]
    return browser or system or plain or "Unknown browser"
