"""What must be true: of every single change of a row, at every moment, and when all has settled."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from perijove.store import claims
from perijove.testing.model.database import START
from perijove.testing.model.loop import Process
from perijove.testing.model.observer import Observer, Rows, moment
from perijove.testing.model.replicas import Proxy
from perijove.testing.model.world import Machines

Key = tuple[str, str]

# What a lease's holder may make of what was observed. Anybody may end a start whose deadline has passed.
_STEPS = {
    ("stopped", "starting"),
    ("starting", "starting"),
    ("starting", "running"),
    ("starting", "stopping"),
    ("starting", "stopped"),
    ("running", "stopping"),
    ("stopping", "stopping"),
    ("stopping", "stopped"),
}
_ROWS = "SELECT s.*, u.name AS user_name FROM servers s JOIN users u ON u.id = s.user_id"  # all: there are a few dozen


class Violation(Exception):
    """Something that must be true is not."""

    def __init__(self, message: str, *, server: int | None = None) -> None:
        super().__init__(message)
        self.server = server


def demand(condition: bool, message: str, *, server: int | None = None) -> None:
    if not condition:
        raise Violation(message, server=server)


@dataclass
class Expected:
    """What the driver knows of what was asked for."""

    # The last thing asked for, where its success is known and nothing was asked at the same time.
    intent: dict[Key, str] = field(default_factory=dict)
    # Somebody asked for their end, whether or not the answer arrived.
    may_vanish: set[Key] = field(default_factory=set)
    users_may_vanish: set[str] = field(default_factory=set)


@dataclass
class Checker:
    observer: Observer
    machines: Machines
    expected: Expected
    active_limit: int
    pending_limit: int
    # By name, all that ever were.
    processes: dict[str, Process] = field(default_factory=dict)
    log_seen: int = 0
    changes: int = 0
    # Of servers, and names of users, that ever were.
    keys: dict[int, Key] = field(default_factory=dict)
    _users: dict[int, str] = field(default_factory=dict)
    _revision: int = 0

    # -- every change

    async def instant(self) -> None:
        """After each step."""
        rows = await self.observer.rows(_ROWS)
        self.keys |= {row["id"]: (row["user_name"], row["name"]) for row in rows}
        self._users |= {row["id"]: row["name"] for row in await self.observer.rows("SELECT id, name FROM users")}
        log = await self.observer.rows(f"SELECT * FROM model_log WHERE id > {self.log_seen} ORDER BY id")  # noqa: S608 - a number
        for entry in log:
            self.log_seen = entry["id"]
            self.changes += 1
            self._change(entry)
        for row in rows:
            self._lease(row)
        for found in await self.observer.rows("SELECT value FROM revision WHERE id = 1"):
            demand(found["value"] >= self._revision, "the revision went back")
            self._revision = found["value"]

    def _change(self, entry: dict[str, Any]) -> None:
        server = entry["server_id"]
        if entry["gone"]:
            user, name = self._users.get(entry["user_id"], ""), entry["name"]
            allowed = (user, name) in self.expected.may_vanish or user in self.expected.users_may_vanish
            demand(allowed, f"the row of {user}/{name} is lost", server=server)
            return
        number = {
            key: (int(entry[f"{key}_was"]), int(entry[key]))
            for key in ("generation", "observed_generation", "lease_epoch")
        }
        was, now = number["generation"]
        demand(now in {was, was + 1}, f"generation from {was} to {now}", server=server)
        was, now = number["observed_generation"]
        demand(was <= now <= number["generation"][1], f"observed generation from {was} to {now}", server=server)
        epoch, now = number["lease_epoch"]
        demand(now in {epoch, epoch + 1}, f"lease epoch from {epoch} to {now}", server=server)
        self._observation(entry, taken=now == epoch + 1, epoch=epoch)
        demand(
            entry["pending"] <= self.pending_limit,
            f"{entry['pending']} servers start at once, {self.pending_limit} may",
            server=server,
        )
        demand(
            entry["active"] <= self.active_limit,
            f"{entry['active']} servers are active, {self.active_limit} may be",
            server=server,
        )

    @staticmethod
    def _observation(entry: dict[str, Any], *, taken: bool, epoch: int) -> None:
        """What was observed is written by who holds the lease, and by no earlier holder."""
        if all(entry[key] == entry[f"{key}_was"] for key in ("observed", "phase", "url")):
            return
        server, step = entry["server_id"], (entry["observed_was"], entry["observed"])
        if taken:
            demand(entry["observed"] == "stopped", f"{step} without a lease", server=server)
            return
        demand(step in _STEPS, f"observed went {step}", server=server)
        demand(
            entry["writer"] == entry["owner_was"],
            f"{entry['writer']} settled {step} while {entry['owner_was']} held the lease",
            server=server,
        )
        leases = [one.split(":") for one in (entry["acting"] or "").split()]
        acting = [int(of) for whose, of in leases if whose == str(server)]
        demand(
            not acting or epoch in acting,
            f"{entry['writer']} settled {step} of epoch {acting} in epoch {epoch}",
            server=server,
        )

    def _lease(self, row: dict[str, Any]) -> None:
        if row["lease_owner"] is None or row["lease_expires"] is None:
            return
        now = asyncio.get_running_loop().time()
        expires = (moment(row["lease_expires"]) - START) / timedelta(seconds=1)
        lease = claims.LEASE.total_seconds()
        demand(expires <= now + lease + 0.001, f"a lease until {expires:.2f} at {now:.2f}", server=row["id"])
        owner = self.processes.get(row["lease_owner"])
        demand(owner is not None, f"a lease of nobody: {row['lease_owner']}", server=row["id"])
        assert owner is not None
        if not owner.alive:
            demand(
                expires <= owner.died_at + lease + 0.001,
                f"{owner.name} died at {owner.died_at:.2f} and has a lease until {expires:.2f}",
                server=row["id"],
            )

    # -- when all has settled

    async def settled(self, proxies: list[Proxy]) -> None:
        """Raises `Violation` for whatever is not yet, or not, as it should be."""
        rows = await self.observer.rows(_ROWS)
        tokens = await self.observer.rows("SELECT server_id FROM tokens WHERE server_id IS NOT NULL")
        held = [row["server_id"] for row in tokens]
        for row in rows:
            self._row(row, held.count(row["id"]))
        for thing in self.machines.alive():
            known = any(row["id"] == thing.server_id for row in rows)
            demand(known, f"thing {thing.uid} of server {thing.server_id} is an orphan", server=thing.server_id)
        self._intents(rows)
        routes = {
            f"/user/{row['user_name']}/" + (f"{row['name']}/" if row["name"] else ""): row["url"]
            for row in rows
            if row["observed"] == "running"
        }
        for proxy in proxies:
            seen = {prefix: target for prefix, target in proxy.table().items() if prefix.startswith("/user/")}
            demand(seen == routes, f"{proxy.process.name} routes {_difference(seen, routes)}")

    def _row(self, row: dict[str, Any], tokens: int) -> None:
        server = row["id"]
        demand(row["desired"] == row["observed"], f"{row['desired']=} {row['observed']=}", server=server)
        things = self.machines.of(server)
        if row["observed"] != "running":
            demand(not things, f"it is stopped, and {len(things)} run", server=server)
            demand(not tokens, f"it is stopped, and {tokens} tokens of it are valid", server=server)
            return
        demand(len(things) == 1, f"{len(things)} run for one row", server=server)
        demand(things[0].url == row["url"], f"{row['url']} in the row, {things[0].url} runs", server=server)
        demand(tokens == 1, f"it runs with {tokens} tokens", server=server)

    def _intents(self, rows: Rows) -> None:
        found = {(row["user_name"], row["name"]): row for row in rows}
        for key, intent in self.expected.intent.items():
            row = found.get(key)
            if intent == "start":
                demand(row is not None, f"{key} was started and has no row")
                assert row is not None
                fine = row["observed"] == "running" or row["failure"] is not None
                demand(fine, f"{key} was started, and stopped without a reason", server=row["id"])
            elif row is not None:
                demand(row["observed"] == "stopped", f"{key} was stopped and runs", server=row["id"])


def _difference(seen: dict[str, str], wanted: dict[str, str]) -> str:
    keys = [key for key in seen.keys() | wanted.keys() if seen.get(key) != wanted.get(key)]
    return ", ".join(f"{key} to {seen.get(key)} instead of {wanted.get(key)}" for key in sorted(keys))
