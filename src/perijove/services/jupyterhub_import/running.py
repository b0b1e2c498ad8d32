"""Servers, running or not, and the OAuth clients that they and services are."""

from typing import TYPE_CHECKING

from sqlalchemy import select

from perijove.domain.events import Event, Kind
from perijove.domain.names import full_name
from perijove.services.jupyterhub_import import mapping
from perijove.services.jupyterhub_import.local import is_server, with_start
from perijove.services.jupyterhub_import.rows import insert_all
from perijove.services.jupyterhub_import.source import SourceRow
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.jupyterhub_import.rows import Import
    from perijove.store.database import Transaction


async def take_servers(import_: "Import", tx: "Transaction") -> None:
    s = schema.servers.c
    listening = {row["id"]: row for row in import_.source.rows("servers")}
    have = {(row.user_id, row.name) for row in await tx.execute(select(s.user_id, s.name))}
    new, wanted = [], []
    for row in import_.source.rows("spawners"):
        user_id = import_.users.get(row["user_id"])
        if user_id is None:
            import_.report.leave("servers", row["name"] or "", "of nobody who was taken")
            continue
        name = full_name(import_.names[row["user_id"]], row["name"] or "")
        if (user_id, row["name"] or "") in have:
            import_.report.leave("servers", name, "there is one here already")
            continue
        server = _running(import_, row, listening.get(row["server_id"]), name)
        host = import_.hub.host if import_.hub.spawners.host_bound else None
        values = mapping.server_values(row, server, user_id=user_id, host=host, now=tx.now)
        if server is not None and import_.hub.spawners.host_bound:
            values["state"] = with_start(values["state"])
        new.append(values)
        wanted.append(row)
    await insert_all(tx, schema.servers, new)
    ids = {(row.user_id, row.name): row.id for row in await tx.execute(select(s.id, s.user_id, s.name))}
    for row, values in zip(wanted, new, strict=True):
        import_.servers[row["id"]] = ids[values["user_id"], values["name"]]
        if values["url"]:
            import_.running.add(row["id"])
            data = {"user": import_.names[row["user_id"]], "name": values["name"]}
            tx.emit(Event(Kind.SERVER, str(import_.servers[row["id"]]), data))
    import_.report.take("servers", len(new))
    import_.report.take("running servers", sum(bool(values["url"]) for values in new))


def _running(import_: "Import", row: SourceRow, server: SourceRow | None, name: str) -> SourceRow | None:
    """Where it listens, if it may still run. A pod is asked for later, by the hub's first poll."""
    if server is None or not server["port"]:
        return None
    mounted, user = server["base_url"], import_.names[row["user_id"]]
    if mounted not in mapping.mounts_at(import_.hub.options.base_url, user, row["name"] or ""):
        import_.report.leave(
            "running servers", f"{name} at {mounted}", f"they run below another base URL; hub.baseUrl is "
            f"{import_.hub.options.base_url}"
        )  # fmt: skip
        return None
    pid = mapping.from_json(row["state"], {}).get("pid")
    if import_.hub.spawners.host_bound and isinstance(pid, int) and not is_server(pid, mounted):
        import_.report.leave("running servers", name, "their processes do not run on this machine any more")
        return None
    return server


async def take_clients(import_: "Import", tx: "Transaction") -> None:
    of_server = {row["oauth_client_id"]: import_.servers.get(row["id"]) for row in import_.source.rows("spawners")}
    of_service = {row["oauth_client_id"]: import_.services.get(row["id"]) for row in import_.source.rows("services")}
    have = set((await tx.execute(select(schema.oauth_clients.c.id))).scalars())
    new = []
    for row in import_.source.rows("oauth_clients"):
        client_id = row["identifier"]
        if client_id == mapping.HUB_CLIENT:
            continue
        server_id, service_id = of_server.get(client_id), of_service.get(client_id)
        if client_id in have:
            import_.report.leave("OAuth clients", client_id, "there is one here already")
            import_.clients.add(client_id)
        elif server_id is None and service_id is None:
            import_.report.leave("OAuth clients", client_id, "of no server and no service that was taken")
        else:
            new.append(mapping.client_values(row, server_id=server_id, service_id=service_id))
            import_.clients.add(client_id)
    await insert_all(tx, schema.oauth_clients, new)
    import_.report.take("OAuth clients", len(new))
