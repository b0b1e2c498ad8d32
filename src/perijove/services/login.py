"""Logging in and out. The one way a session comes to be, whichever authenticator said yes.

`complete_login` is shared by the form, by the Tornado bridge (OAuth callbacks) and by anything else
that ends in an `AuthModel`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import delete, insert, select

from perijove.domain.errors import Conflict, Forbidden, Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import UserId
from perijove.domain.names import check_user_name
from perijove.domain.ports import AuthModel
from perijove.lib.log import get_logger
from perijove.services import profile, sessions, throttle
from perijove.services.audit import record
from perijove.services.login_queue import Entry
from perijove.services.refresh import refresh_user
from perijove.services.secrets import new_browser_session, new_session_secret
from perijove.services.user_facts import user_facts
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity
    from perijove.store.database import Transaction

__all__ = [
    "LoggedIn",
    "RequestFacts",
    "authenticate",
    "complete_login",
    "get_auth_state",
    "login",
    "login_url",
    "logout",
    "refresh_user",
]

log = get_logger(__name__)

REFUSED = "Invalid username or password"
# A browser's `jupyterhub-session-id`, as made here.
_MARK = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What authenticators and the audit trail may know of a browser's request."""

    method: str = "POST"
    path: str = ""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    remote_ip: str = ""
    scheme: str = "http"

    def as_mapping(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "remote_ip": self.remote_ip,
            "scheme": self.scheme,
        }


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A new session. `secret` goes into the login cookie (see `web/cookies.py`) and nowhere else."""

    user_id: UserId
    user_name: str
    secret: str
    browser_session: str


async def login(
    hub: "HubContext", form: Mapping[str, str], facts: RequestFacts, *, browser_session: str = ""
) -> LoggedIn:
    """Ask the authenticator. Raises `Forbidden` (message to show) if refused, `LimitReached` if throttled."""
    model = await authenticate(hub, form, facts)
    return await complete_login(hub, model, facts, browser_session=browser_session)


async def authenticate(hub: "HubContext", form: Mapping[str, str], facts: RequestFacts) -> AuthModel:
    """The authenticator's yes, throttled, without a session (`auth` of the token API). Raises as `login`."""
    async with throttle.attempt(hub, form.get("username", ""), facts.remote_ip):
        model = await hub.authenticator.authenticate(form, facts.as_mapping())
        if model is None:
            raise Forbidden(_why_refused(hub, form))
    return model


def _why_refused(hub: "HubContext", form: Mapping[str, str]) -> str:
    """The rule that the name breaks, which is no secret; else nothing that tells a wrong name from a wrong password."""
    if "username" not in form:
        return REFUSED
    normal = hub.authenticator.normalize(form["username"])
    try:
        check_user_name(normal)
    except Invalid as rule:
        return str(rule)
    return REFUSED if hub.authenticator.validate(normal) else f"Nobody can be called {normal!r} here."


async def complete_login(
    hub: "HubContext", model: AuthModel, facts: RequestFacts, *, browser_session: str = ""
) -> LoggedIn:
    """Make the user if new; apply admin flag, groups, roles, auth state; make the session.

    `browser_session`: the value of `jupyterhub-session-id` if the browser has one already (it is kept,
    unless a session of another user carries it).
    """
    check_user_name(model.name)
    model = await _reconciled(hub, model)
    offered = _MARK.fullmatch(browser_session) is not None
    entry = Entry(
        model=model,
        secret=new_session_secret(),
        browser_session=browser_session if offered else new_browser_session(),
        offered=offered,
        user_agent=facts.headers.get("user-agent", ""),
        address=facts.remote_ip,
    )
    user_id = await hub.logins.write(hub, entry)
    if user_id is None:
        user_id = await _write_alone(hub, entry)
    hub.activity.saw_user(user_id, hub.store.now())
    log.info("logged_in", user=model.name, address=facts.remote_ip)
    return LoggedIn(user_id, model.name, entry.secret, entry.browser_session)


async def _reconciled(hub: "HubContext", model: AuthModel) -> AuthModel:
    """The operator's `reconcile_auth_state_hook` decides what of old and new auth state is kept."""
    if not hub.authenticator.reconciles_auth_state:
        return model
    try:
        stored = await get_auth_state(hub, model.name)
    except NotFound:
        stored = None
    return replace(model, auth_state=await hub.authenticator.reconcile_auth_state(model, stored))


async def _write_alone(hub: "HubContext", entry: Entry) -> UserId:
    """The whole of a login: of somebody new, or of whom the authenticator says something new."""
    sealed = await profile.seal(hub, entry.model)
    try:
        user_id, new = await _write(hub, entry, sealed)
    except Conflict:
        # Two first logins of one person at once: the other made the row, so now it is found.
        user_id, new = await _write(hub, entry, sealed)
    if new:
        await _tell_authenticator(hub, user_id, entry.model.name)
    return user_id


async def _write(hub: "HubContext", entry: Entry, sealed: bytes | None) -> tuple[UserId, bool]:
    name, users = entry.model.name, schema.users
    async with hub.store.transaction() as tx:
        by_name = select(users).where(users.c.name == name)
        row = (await tx.execute(by_name)).first()
        new = row is None
        if row is None:
            values = {"name": name, "admin": bool(entry.model.admin), "created": tx.now, "auth_stale": False}
            await tx.execute(insert(users), values)
            row = (await tx.execute(by_name)).one()
            await record(tx, "user.create", actor="login", subject=name)
            tx.emit(Event(Kind.IDENTITY, name))
        await profile.apply(hub, tx, row, entry.model, sealed)
        if entry.offered and await _is_anothers(tx, row.id, entry.browser_session):
            entry.browser_session = new_browser_session()
        await sessions.create(
            hub,
            tx,
            user_id=row.id,
            secret=entry.secret,
            browser_session=entry.browser_session,
            user_agent=entry.user_agent,
            address=entry.address,
        )
        await record(tx, "login", actor=name, subject=name, address=entry.address)
    return UserId(row.id), new


async def _is_anothers(tx: "Transaction", user_id: int, mark: str) -> bool:
    """Whether a session of another user carries this browser's mark: logging out would end theirs."""
    s = schema.sessions.c
    taken = select(s.id).where(s.browser_session == mark, s.user_id != user_id).limit(1)
    return (await tx.execute(taken)).first() is not None


async def _tell_authenticator(hub: "HubContext", user_id: UserId, name: str) -> None:
    """`add_user` of a new user. If it fails the user is not made: the next login must meet it again."""
    try:
        await hub.authenticator.user_added(await user_facts(hub, user_id))
    except Exception:
        async with hub.store.transaction() as tx:
            await tx.execute(delete(schema.users).where(schema.users.c.id == user_id))
            tx.emit(Event(Kind.IDENTITY, name))
        raise


async def logout(hub: "HubContext", identity: "Identity", facts: RequestFacts) -> None:
    """End the session and delete every token issued to this browser session. The caller clears cookies.

    With `shutdown_on_logout` the caller also stops the user's servers (`services.servers`).
    """
    async with hub.store.transaction() as tx:
        if identity.session_id is not None:
            await tx.execute(delete(schema.sessions).where(schema.sessions.c.id == identity.session_id))
        await sessions.delete_browser_tokens(tx, identity.id, identity.browser_session)
        await record(tx, "logout", actor=identity.name, subject=identity.name, address=facts.remote_ip)
        tx.emit(Event(Kind.IDENTITY, identity.name))
    log.info("logged_out", user=identity.name, address=facts.remote_ip)


def login_url(hub: "HubContext", *, next_url: str = "") -> str:
    """Where a person logs in: `<hub>login?next=…`, or the authenticator's own URL with `auto_login`."""
    url = f"{hub.hub_prefix}login"
    if hub.authenticator.auto_login:
        url = hub.authenticator.login_url(hub.hub_prefix)
    if not next_url:
        return url
    return f"{url}{'&' if '?' in url else '?'}next={quote(next_url, safe='')}"


async def get_auth_state(hub: "HubContext", user: str) -> dict[str, Any] | None:
    """Decrypted; None if there is none or `enable_auth_state` is off. Raises `NotFound`."""
    u = schema.users.c
    async with hub.store.read() as connection:
        row = (await connection.execute(select(u.encrypted_auth_state).where(u.name == user))).first()
    if row is None:
        raise NotFound(f"No such user: {user}")
    if not hub.authenticator.enable_auth_state:
        return None
    return await hub.crypt.decrypt(row.encrypted_auth_state)
