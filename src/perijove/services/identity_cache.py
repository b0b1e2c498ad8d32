"""What this process remembers about callers, and when it forgets.

Filled from rows, emptied by events: `Kind.IDENTITY` with the owner's name, `service:<name>`, or `*`.
The bus calls `forget` inside the committing transaction's `publish`, so a request that follows a
revocation on this replica never meets the old answer; other replicas learn of it from the outbox.
While the feed of events is known to be broken nothing is remembered. A process that was frozen does not know:
what it remembers counts only for a moment after it last looked at what others committed (`vouch`).

The race that matters: a row is read, then revoked, then remembered. Every read therefore runs under a
`Reading`, and what was forgotten meanwhile is not put in.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from perijove.bus.memory import Bus
from perijove.domain.events import Event, Kind, Lagged
from perijove.domain.ids import SessionId, TokenId
from perijove.domain.scopes import Catalogue, ScopeSet

EVERYONE = "*"
# Oldest first out. An entry is a few hundred bytes; owners share their scopes.
MAX_CREDENTIALS = 50_000
MAX_OWNERS = 20_000
# The second within which a revocation must hold everywhere.
VOUCHED_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user or service, and what this credential lets it do. A snapshot: ask again each request."""

    kind: Literal["user", "service"]
    id: int
    name: str
    admin: bool
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    # Expanded and intersected with what the owner holds now; includes the identify scopes.
    scopes: ScopeSet
    # The same as `GET /api/user` lists them: without identify scopes that had to be added.
    listed_scopes: tuple[str, ...] = ()
    created: datetime | None = None
    last_activity: datetime | None = None
    user_info: Mapping[str, Any] | None = None
    # One of the two is set, unless this is what a user may do in full (`identify_user`).
    token_id: TokenId | None = None
    session_id: SessionId | None = None
    # `jupyterhub-session-id` of the browser: of the login session, or recorded on an OAuth token.
    browser_session: str = ""
    # OAuth client that a token was issued to; None: by the hub itself.
    client_id: str | None = None
    # False for a server's own token: what it does says nothing about a person.
    counts_as_activity: bool = True


@dataclass(slots=True)
class OwnerEntry:
    """A user or service with all it holds."""

    key: str  # as in events
    identity: Identity
    held: ScopeSet
    # Before it the authenticator need not be asked again; None: never.
    refresh_at: datetime | None
    # Read again after this (monotonic): times of activity move without events.
    stale_after: float
    # Other users whose groups went into the answer.
    depends: frozenset[str] = frozenset()


@dataclass(slots=True)
class CredentialEntry:
    """A token or session."""

    identity: Identity
    owner: OwnerEntry
    expires_at: datetime | None
    depends: frozenset[str] = frozenset()
    # Room for what the web layer makes of the identity (the body of GET /api/user).
    rendered: dict[str, object] = field(default_factory=dict)


class Reading:
    """Rows are being read; collects what is forgotten until they are."""

    __slots__ = ("forgotten",)

    def __init__(self) -> None:
        self.forgotten: set[str] = set()

    def valid_for(self, *keys: str) -> bool:
        return EVERYONE not in self.forgotten and self.forgotten.isdisjoint(keys)


class IdentityCache:
    """Owners and credentials by hash. One per process, in `HubContext.identities`."""

    def __init__(self, bus: Bus, catalogue: Catalogue) -> None:
        # Every scope that exists on this hub.
        self.catalogue = catalogue
        # False while the feed of events is broken: set by whoever runs the feed.
        self.enabled = True
        # Monotonic. Where nobody else writes, memory is as good as rows.
        self._vouched_until = math.inf
        # Role id -> (name, scopes); read with the owners, forgotten with everyone.
        self._roles: dict[int, tuple[str, tuple[str, ...]]] | None = None
        self._owners: dict[str, OwnerEntry] = {}
        self._credentials: dict[str, CredentialEntry] = {}
        self._credentials_of: dict[str, set[str]] = {}
        self._dependents: dict[str, set[str]] = {}
        self._readings: set[Reading] = set()
        bus.listen(self._on_event)

    def _on_event(self, event: Event | Lagged) -> None:
        if isinstance(event, Lagged):
            self.forget(EVERYONE)
        elif event.kind is Kind.IDENTITY:
            self.forget(event.key)
        elif event.kind in {Kind.SERVER, Kind.STARTING}:
            # What was rendered shows the owner's servers.
            for hashed in self._credentials_of.get(event.data.get("user", ""), ()):
                self._credentials[hashed].rendered.clear()

    def forget(self, key: str) -> None:
        """Drop an owner, its credentials and every answer that its groups went into; `*`: everything."""
        for reading in self._readings:
            reading.forgotten.add(key)
        if key == EVERYONE:
            self._roles = None
            for table in (self._owners, self._credentials, self._credentials_of, self._dependents):
                table.clear()
            return
        self._owners.pop(key, None)
        for hashed in self._credentials_of.pop(key, ()):
            self._credentials.pop(hashed, None)
        for hashed in self._dependents.pop(key, ()):
            self._drop_credential(hashed)

    def suspend(self) -> None:
        """The feed broke: forget everything and remember nothing until `resume`."""
        self.enabled = False
        self.forget(EVERYONE)

    def resume(self) -> None:
        self.enabled = True

    def vouch(self, at: float) -> None:
        """All that others had committed at this time (monotonic) is known here."""
        self._vouched_until = at + VOUCHED_SECONDS

    def _is_vouched_for(self) -> bool:
        return time.monotonic() < self._vouched_until

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        reading = Reading()
        self._readings.add(reading)
        try:
            yield reading
        finally:
            self._readings.discard(reading)

    @property
    def roles(self) -> dict[int, tuple[str, tuple[str, ...]]] | None:
        return self._roles if self._is_vouched_for() else None

    @roles.setter
    def roles(self, table: dict[int, tuple[str, tuple[str, ...]]]) -> None:
        self._roles = table

    def owner(self, key: str, monotonic: float) -> OwnerEntry | None:
        entry = self._owners.get(key)
        return entry if entry is not None and entry.stale_after > monotonic and self._is_vouched_for() else None

    def put_owner(self, entry: OwnerEntry, reading: Reading) -> None:
        if self.enabled and reading.valid_for(entry.key):
            if len(self._owners) >= MAX_OWNERS:
                self.forget(next(iter(self._owners)))
            self._owners[entry.key] = entry

    def credential(self, hashed: str) -> CredentialEntry | None:
        return self._credentials.get(hashed) if self._is_vouched_for() else None

    def put_credential(self, hashed: str, entry: CredentialEntry, reading: Reading) -> None:
        if not self.enabled or not reading.valid_for(entry.owner.key, *entry.depends):
            return
        if len(self._credentials) >= MAX_CREDENTIALS:
            self._drop_credential(next(iter(self._credentials)))
        self._credentials[hashed] = entry
        self._credentials_of.setdefault(entry.owner.key, set()).add(hashed)
        for name in entry.depends:
            self._dependents.setdefault(name, set()).add(hashed)

    def _drop_credential(self, hashed: str) -> None:
        entry = self._credentials.pop(hashed, None)
        if entry is not None and (siblings := self._credentials_of.get(entry.owner.key)) is not None:
            siblings.discard(hashed)
