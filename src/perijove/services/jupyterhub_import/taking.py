"""Writing what was read from JupyterHub into our database, in one transaction.

One, so that whatever kills an import leaves nothing of it, and the next one does it whole. It is done once for
a database: a second import would bring back tokens that were revoked since, and users that were deleted. What
is here already (users and services of the configuration, if a hub was started before) stays and is completed.

A trial run is the same transaction, rolled back: it tells exactly what would be taken.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, insert, select, text, update

from perijove.domain import roles as role_rules
from perijove.domain.errors import Invalid
from perijove.domain.events import Event, Kind
from perijove.domain.names import check_user_name, full_name
from perijove.plugins import processes
from perijove.services import imported_hashes
from perijove.services.audit import record
from perijove.services.identity_cache import EVERYONE
from perijove.services.jupyterhub_import import mapping
from perijove.services.jupyterhub_import.report import Report
from perijove.services.jupyterhub_import.source import Source, SourceRow
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

# In `meta`: that this database has taken an import, from where and when.
DONE = "jupyterhub_import"
CHUNK = 1000
# Unreadable auth state shows in the first few already.
_AUTH_STATES_TRIED = 20


class _Tried(Exception):
    """Rolls a trial run back."""


async def take(hub: "HubContext", source: Source, *, actor: str, dry_run: bool = False) -> Report:
    """Take `source` over, or say what that would be. Raises `Conflict` when another import does it now."""
    taking = _Taking(hub, source)
    async with hub.store.read() as connection:
        done = (await connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == DONE))).scalar()
    if done is not None:
        before = json.loads(done)
        taking.report.already = f"{before['at']} from {before['source']}"
        return taking.report
    await taking.check_auth_states()
    try:
        async with hub.store.transaction() as tx:
            await taking.run(tx, actor=actor, dry_run=dry_run)
    except _Tried:
        pass
    return taking.report


@dataclass(slots=True)
class _Taking:
    hub: "HubContext"
    source: Source
    report: Report = field(default_factory=Report)
    # JupyterHub's ids to ours.
    users: dict[int, int] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)
    services: dict[int, int] = field(default_factory=dict)
    roles: dict[int, int] = field(default_factory=dict)
    servers: dict[int, int] = field(default_factory=dict)
    # Their ids in JupyterHub.
    running: set[int] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)

    async def run(self, tx: "Transaction", *, actor: str, dry_run: bool) -> None:
        source, report = self.source, self.report
        report.source, report.release = source.url, source.release
        report.notes += source.notes
        done = {"source": source.url, "at": tx.now.isoformat(timespec="seconds")}
        # First, so that of two imports at once one waits here and then fails.
        await tx.execute(insert(schema.meta), {"key": DONE, "value": json.dumps(done)})
        await self._users(tx)
        await self._groups(tx)
        await self._roles(tx)
        await self._services(tx)
        for kind, ids in (("user", self.users), ("group", self.groups), ("service", self.services)):
            await self._assignments(tx, kind, ids)
        await self._servers(tx)
        await self._clients(tx)
        await self._tokens(tx)
        await self._shares(tx)
        await self._share_codes(tx)
        for kind, table, why in _NEVER:
            if count := len(source.rows(table)):
                report.left[kind, why] = [""] * count
        await record(tx, "database.import", actor=actor, **done, taken=dict(report.taken))
        tx.emit(Event(Kind.IDENTITY, EVERYONE))
        if dry_run:
            raise _Tried

    # -- who

    async def _users(self, tx: "Transaction") -> None:
        u = schema.users.c
        admins = self._holders("user", role_rules.ADMIN)
        have = {row.name: row for row in await tx.execute(select(u.id, u.name, u.admin, u.encrypted_auth_state))}
        taken_ids = {row.id for row in have.values()}
        keeping: list[dict[str, Any]] = []
        renumbered: list[dict[str, Any]] = []
        wanted: list[SourceRow] = []
        for row in self.source.rows("users"):
            try:
                check_user_name(row["name"] or "")
            except Invalid as error:
                self.report.leave("users", row["name"] or "", error.message)
                continue
            wanted.append(row)
            values = mapping.user_values(row, admin=bool(row["admin"]) or row["id"] in admins, now=tx.now)
            self.report.take("auth states", int(values["encrypted_auth_state"] is not None))
            if (there := have.get(row["name"])) is not None:
                await self._complete_user(tx, there, values)
            elif row["id"] in taken_ids:
                renumbered.append(values)
            else:
                # Volumes and user ids of operating systems may be named after it.
                keeping.append({"id": row["id"], **values})
        await _insert(tx, schema.users, keeping)
        await _numbers_from_here(self.hub, tx, schema.users)
        await _insert(tx, schema.users, renumbered)
        ids = {row.name: row.id for row in await tx.execute(select(u.id, u.name))}
        self.users = {row["id"]: ids[row["name"]] for row in wanted}
        self.names = {row["id"]: row["name"] for row in wanted}
        self.report.take("users", len(wanted))

    async def _complete_user(self, tx: "Transaction", there: Any, values: Mapping[str, Any]) -> None:
        changed: dict[str, Any] = {"created": values["created"], "admin": there.admin or values["admin"]}
        if there.encrypted_auth_state is None:
            changed |= {key: values[key] for key in ("encrypted_auth_state", "user_info")}
        await tx.execute(update(schema.users).where(schema.users.c.id == there.id).values(changed))

    async def _groups(self, tx: "Transaction") -> None:
        rows = self.source.rows("groups")
        have = await _ids(tx, schema.groups)
        new = [
            {"name": row["name"], "properties": mapping.from_json(row["properties"], {})}
            for row in rows
            if row["name"] not in have
        ]
        await _insert(tx, schema.groups, new)
        ids = await _ids(tx, schema.groups)
        self.groups = {row["id"]: ids[row["name"]] for row in rows}
        self.report.take("groups", len(rows))
        pairs = [
            {"user_id": self.users[row["user_id"]], "group_id": self.groups[row["group_id"]]}
            for row in self.source.rows("user_group_map")
            if row["user_id"] in self.users and row["group_id"] in self.groups
        ]
        await _insert_pairs(tx, schema.user_groups, pairs, ("user_id", "group_id"))
        self.report.take("memberships", len(pairs))

    # -- what they may

    async def _roles(self, tx: "Transaction") -> None:
        configured = {role.name for role in self.hub.options.load_roles}
        have = await _ids(tx, schema.roles)
        new = []
        for row in self.source.rows("roles"):
            if row["name"] in role_rules.DEFAULT_ROLES or row["name"] in configured:
                continue
            self.report.take("roles")
            if row["name"] in have:
                continue
            managed = bool(row["managed_by_auth"])
            new.append(
                {
                    "name": row["name"],
                    "description": row["description"] or "",
                    "scopes": mapping.from_json(row["scopes"], []),
                    "managed_by_auth": managed,
                    # Of no configuration of ours: without this a hub would remove it at its next start.
                    "from_api": not managed,
                }
            )
        # JupyterHub's default roles are ours; configured ones are written by a hub's start, and named here.
        missing = (configured | role_rules.DEFAULT_ROLES.keys()) - have.keys()
        for name in sorted(missing & {row["name"] for row in self.source.rows("roles")}):
            default = role_rules.DEFAULT_ROLES.get(name)
            scopes = list(default.scopes) if default else []
            description = default.description if default else ""
            new.append(
                {
                    "name": name,
                    "description": description,
                    "scopes": scopes,
                    "managed_by_auth": False,
                    "from_api": False,
                }
            )
        await _insert(tx, schema.roles, new)
        ids = await _ids(tx, schema.roles)
        self.roles = {row["id"]: ids[row["name"]] for row in self.source.rows("roles") if row["name"] in ids}

    async def _assignments(self, tx: "Transaction", kind: str, ids: Mapping[int, int]) -> None:
        """Of `admin` and `user` there are none: the one is a flag, the other everybody's."""
        flags = {role_rules.ADMIN, role_rules.USER} if kind != "group" else set()
        names = {row["id"]: row["name"] for row in self.source.rows("roles")}
        configured = {role.name for role in self.hub.options.load_roles}
        pairs = []
        for row in self.source.rows(f"{kind}_role_map"):
            name = names.get(row["role_id"], "")
            if row[f"{kind}_id"] not in ids or row["role_id"] not in self.roles or name in flags:
                continue
            managed = bool(row["managed_by_auth"])
            pairs.append(
                {
                    f"{kind}_id": ids[row[f"{kind}_id"]],
                    "role_id": self.roles[row["role_id"]],
                    "managed_by_auth": managed,
                    # Who has a configured role is for the configuration to say.
                    "from_api": not managed and name not in configured,
                }
            )
        table = schema.metadata.tables[f"{kind}_roles"]
        await _insert_pairs(tx, table, pairs, (f"{kind}_id", "role_id"))
        self.report.take("role assignments", len(pairs))

    def _holders(self, kind: str, role: str) -> set[int]:
        wanted = {row["id"] for row in self.source.rows("roles") if row["name"] == role}
        return {row[f"{kind}_id"] for row in self.source.rows(f"{kind}_role_map") if row["role_id"] in wanted}

    async def _services(self, tx: "Transaction") -> None:
        configured = {service.name for service in self.hub.options.services}
        admins = self._holders("service", role_rules.ADMIN)
        have = await _ids(tx, schema.services)
        new, wanted = [], []
        for row in self.source.rows("services"):
            # Releases before 5 have configured ones only.
            from_config = row["from_config"] is not False
            if from_config and row["name"] not in configured:
                reason = "of JupyterHub's configuration and not in this one; configure them before importing"
                self.report.leave("services", row["name"], reason)
                continue
            wanted.append(row)
            if row["name"] in have:
                continue
            new.append(
                {
                    "name": row["name"],
                    "admin": bool(row["admin"]) or row["id"] in admins,
                    "url": row["url"] or None,
                    "info": mapping.from_json(row["info"], {}),
                    "display": row["display"] is not False,
                    "oauth_no_confirm": bool(row["oauth_no_confirm"]),
                    "oauth_client_id": row["oauth_client_id"],
                    "from_config": from_config,
                }
            )
        await _insert(tx, schema.services, new)
        ids = await _ids(tx, schema.services)
        self.services = {row["id"]: ids[row["name"]] for row in wanted}
        self.report.take("services", len(wanted))
        tx.emit(*(Event(Kind.ROUTE, row["name"]) for row in new if row["url"]))

    # -- what runs

    async def _servers(self, tx: "Transaction") -> None:
        s = schema.servers.c
        listening = {row["id"]: row for row in self.source.rows("servers")}
        have = {(row.user_id, row.name) for row in await tx.execute(select(s.user_id, s.name))}
        new, wanted = [], []
        for row in self.source.rows("spawners"):
            user_id = self.users.get(row["user_id"])
            if user_id is None:
                self.report.leave("servers", row["name"] or "", "of nobody who was taken")
                continue
            name = full_name(self.names[row["user_id"]], row["name"] or "")
            if (user_id, row["name"] or "") in have:
                self.report.leave("servers", name, "there is one here already")
                continue
            server = self._running(row, listening.get(row["server_id"]), name)
            host = self.hub.host if self.hub.spawners.host_bound else None
            values = mapping.server_values(row, server, user_id=user_id, host=host, now=tx.now)
            if server is not None and self.hub.spawners.host_bound:
                values["state"] = _with_start(values["state"])
            new.append(values)
            wanted.append(row)
        await _insert(tx, schema.servers, new)
        ids = {(row.user_id, row.name): row.id for row in await tx.execute(select(s.id, s.user_id, s.name))}
        for row, values in zip(wanted, new, strict=True):
            self.servers[row["id"]] = ids[values["user_id"], values["name"]]
            if values["url"]:
                self.running.add(row["id"])
                data = {"user": self.names[row["user_id"]], "name": values["name"]}
                tx.emit(Event(Kind.SERVER, str(self.servers[row["id"]]), data))
        self.report.take("servers", len(new))
        self.report.take("running servers", sum(bool(values["url"]) for values in new))

    def _running(self, row: SourceRow, server: SourceRow | None, name: str) -> SourceRow | None:
        """Where it listens, if it may still run. A pod is asked for later, by the hub's first poll."""
        if server is None or not server["port"]:
            return None
        mounted, user = server["base_url"], self.names[row["user_id"]]
        if mounted not in mapping.mounts_at(self.hub.options.base_url, user, row["name"] or ""):
            self.report.leave(
                "running servers", f"{name} at {mounted}", f"they run below another base URL; hub.baseUrl is "
                f"{self.hub.options.base_url}"
            )  # fmt: skip
            return None
        pid = mapping.from_json(row["state"], {}).get("pid")
        if self.hub.spawners.host_bound and isinstance(pid, int) and not _is_server(pid, mounted):
            self.report.leave("running servers", name, "their processes do not run on this machine any more")
            return None
        return server

    async def _clients(self, tx: "Transaction") -> None:
        of_server = {row["oauth_client_id"]: self.servers.get(row["id"]) for row in self.source.rows("spawners")}
        of_service = {row["oauth_client_id"]: self.services.get(row["id"]) for row in self.source.rows("services")}
        have = set((await tx.execute(select(schema.oauth_clients.c.id))).scalars())
        new = []
        for row in self.source.rows("oauth_clients"):
            client_id = row["identifier"]
            if client_id == mapping.HUB_CLIENT:
                continue
            server_id, service_id = of_server.get(client_id), of_service.get(client_id)
            if client_id in have:
                self.report.leave("OAuth clients", client_id, "there is one here already")
                self.clients.add(client_id)
            elif server_id is None and service_id is None:
                self.report.leave("OAuth clients", client_id, "of no server and no service that was taken")
            else:
                new.append(mapping.client_values(row, server_id=server_id, service_id=service_id))
                self.clients.add(client_id)
        await _insert(tx, schema.oauth_clients, new)
        self.report.take("OAuth clients", len(new))

    async def _tokens(self, tx: "Transaction") -> None:
        listening = {row["id"]: row["base_url"] for row in self.source.rows("servers")}
        at: dict[str, int] = {}
        named: dict[int, dict[str, int]] = {}
        for row in self.source.rows("spawners"):
            if row["id"] in self.running:
                at[listening[row["server_id"]]] = self.servers[row["id"]]
                named.setdefault(row["user_id"], {})[row["name"] or ""] = self.servers[row["id"]]
        new = []
        for row in self.source.rows("api_tokens"):
            for_server, server_id = mapping.token_of_server(row["note"] or "", at, named.get(row["user_id"], {}))
            if for_server and server_id is None:
                self.report.leave("tokens", "", "of servers that do not run any more")
            elif reason := self._unwanted(row, tx):
                self.report.leave("tokens", "", reason)
            else:
                new.append(
                    mapping.token_values(
                        row,
                        user_id=self.users.get(row["user_id"]),
                        service_id=self.services.get(row["service_id"]),
                        server_id=server_id,
                        now=tx.now,
                    )
                )
        await _insert(tx, schema.tokens, new)
        self.report.take("tokens", len(new))

    def _unwanted(self, row: SourceRow, tx: "Transaction") -> str:
        """Why a token is not taken, or ""."""
        expires = mapping.moment(row["expires_at"])
        if expires is not None and expires <= tx.now:
            return "expired"
        if row["user_id"] not in self.users and row["service_id"] not in self.services:
            return "of users and services that were not taken"
        if row["client_id"] not in {None, mapping.HUB_CLIENT} and row["client_id"] not in self.clients:
            return "of OAuth clients that were not taken"
        if not row["hashed"] or not row["prefix"] or not imported_hashes.is_imported(row["hashed"]):
            return "without a hash that can be checked"
        if row["service_id"] is not None and row["note"] == "generated at startup":
            return "of service processes, which get a new one from every hub that starts them"
        return "written in this hub's configuration as well, which decides about them" if self._configured(row) else ""

    def _configured(self, row: SourceRow) -> bool:
        options = self.hub.options
        tokens = [*options.api_tokens, *(service.api_token for service in options.services if service.api_token)]
        near = [token for token in tokens if token.startswith(row["prefix"])]
        return any(imported_hashes.matches(row["hashed"], token) for token in near)

    async def _shares(self, tx: "Transaction") -> None:
        new = []
        for row in self.source.rows("shares"):
            values = {
                "server_id": self.servers.get(row["spawner_id"]),
                "user_id": self.users.get(row["user_id"]),
                "group_id": self.groups.get(row["group_id"]),
                "scopes": mapping.from_json(row["scopes"], []),
                "created": mapping.moment(row["created_at"]) or tx.now,
            }
            expires = mapping.moment(row["expires_at"])
            if expires is not None and expires <= tx.now:
                self.report.leave("shares", "", "expired")
            elif values["server_id"] is None or (values["user_id"] is None and values["group_id"] is None):
                self.report.leave("shares", "", "of servers, users or groups that were not taken")
            else:
                new.append(values)
        await _insert(tx, schema.shares, new)
        self.report.take("shares", len(new))

    async def _share_codes(self, tx: "Transaction") -> None:
        new = []
        for row in self.source.rows("share_codes"):
            server_id = self.servers.get(row["spawner_id"])
            expires = mapping.moment(row["expires_at"])
            if server_id is None:
                self.report.leave("share codes", "", "of servers that were not taken")
            elif expires is not None and expires <= tx.now:
                self.report.leave("share codes", "", "expired")
            elif not imported_hashes.is_imported(row["hashed"] or ""):
                self.report.leave("share codes", "", "without a hash that can be checked")
            else:
                new.append(mapping.share_code_values(row, server_id=server_id, now=tx.now))
        await _insert(tx, schema.share_codes, new)
        self.report.take("share codes", len(new))

    # -- secrets

    async def check_auth_states(self) -> None:
        """Say before anybody relies on it whether the keys are the right ones."""
        sealed = [row["encrypted_auth_state"] for row in self.source.rows("users") if row["encrypted_auth_state"]]
        if not sealed:
            return
        if not self.hub.crypt.available:
            self.report.notes.append(
                "auth state is taken as it is, but this hub has no key to read it with: set JUPYTERHUB_CRYPT_KEY "
                "(hub.config.CryptKeeper.keys) to what JupyterHub had"
            )
            return
        tried = sealed[:_AUTH_STATES_TRIED]
        unread = sum([await self.hub.crypt.decrypt(bytes(one)) is None for one in tried])
        if unread:
            self.report.notes.append(
                f"of {len(tried)} auth states tried, {unread} cannot be read with this hub's keys: those users get "
                "a new one at their next login"
            )


_NEVER = (("OAuth codes", "oauth_codes", "they are good for minutes; the login is repeated by itself"),)


def _is_server(pid: int, mounted: str) -> bool:
    """Whether this process is the server that JupyterHub started, as far as we may look."""
    if processes.started(pid) is None:
        return False
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return True
    except OSError:
        return False
    return f"JUPYTERHUB_SERVICE_PREFIX={mounted}".encode() in environment.split(b"\0")


def _with_start(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a local process, with what tells it from a later one of the same number."""
    pid = state.get("pid")
    since = processes.started(pid) if isinstance(pid, int) else None
    return {**state, "perijove_started": since} if since is not None else dict(state)


async def _insert(tx: "Transaction", table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    for first in range(0, len(rows), CHUNK):
        await tx.execute(insert(table), list(rows[first : first + CHUNK]))


async def _insert_pairs(
    tx: "Transaction", table: Table, rows: Iterable[Mapping[str, Any]], key: tuple[str, str]
) -> None:
    have = {tuple(row) for row in await tx.execute(select(table.c[key[0]], table.c[key[1]]))}
    await _insert(tx, table, [row for row in rows if (row[key[0]], row[key[1]]) not in have])


async def _ids(tx: "Transaction", table: Table) -> dict[str, int]:
    return {row.name: row.id for row in await tx.execute(select(table.c.name, table.c.id))}


async def _numbers_from_here(hub: "HubContext", tx: "Transaction", table: Table) -> None:
    """PostgreSQL's sequences do not see ids that were given."""
    if hub.store.dialect == "postgresql":
        name = table.name
        await tx.execute(
            text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), greatest((SELECT max(id) FROM {name}), 1))")  # noqa: S608 - a constant of ours
        )
