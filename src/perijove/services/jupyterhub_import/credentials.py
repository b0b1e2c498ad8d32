"""Tokens, shares and share codes, by the hashes that JupyterHub has of them; and whether auth state can be read."""

from typing import TYPE_CHECKING

from perijove.services import imported_hashes
from perijove.services.jupyterhub_import import mapping
from perijove.services.jupyterhub_import.rows import insert_all
from perijove.services.jupyterhub_import.source import SourceRow
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.jupyterhub_import.rows import Import
    from perijove.store.database import Transaction

# Unreadable auth state shows in the first few already.
_AUTH_STATES_TRIED = 20


async def take_tokens(import_: "Import", tx: "Transaction") -> None:
    listening = {row["id"]: row["base_url"] for row in import_.source.rows("servers")}
    at: dict[str, int] = {}
    named: dict[int, dict[str, int]] = {}
    for row in import_.source.rows("spawners"):
        if row["id"] in import_.running:
            at[listening[row["server_id"]]] = import_.servers[row["id"]]
            named.setdefault(row["user_id"], {})[row["name"] or ""] = import_.servers[row["id"]]
    new = []
    for row in import_.source.rows("api_tokens"):
        for_server, server_id = mapping.token_of_server(row["note"] or "", at, named.get(row["user_id"], {}))
        if for_server and server_id is None:
            import_.report.leave("tokens", "", "of servers that do not run any more")
        elif reason := _unwanted(import_, row, tx):
            import_.report.leave("tokens", "", reason)
        else:
            new.append(
                mapping.token_values(
                    row,
                    user_id=import_.users.get(row["user_id"]),
                    service_id=import_.services.get(row["service_id"]),
                    server_id=server_id,
                    now=tx.now,
                )
            )
    await insert_all(tx, schema.tokens, new)
    import_.report.take("tokens", len(new))


def _unwanted(import_: "Import", row: SourceRow, tx: "Transaction") -> str:
    """Why a token is not taken, or ""."""
    expires = mapping.moment(row["expires_at"])
    if expires is not None and expires <= tx.now:
        return "expired"
    if row["user_id"] not in import_.users and row["service_id"] not in import_.services:
        return "of users and services that were not taken"
    if row["client_id"] not in {None, mapping.HUB_CLIENT} and row["client_id"] not in import_.clients:
        return "of OAuth clients that were not taken"
    if not row["hashed"] or not row["prefix"] or not imported_hashes.is_imported(row["hashed"]):
        return "without a hash that can be checked"
    if row["service_id"] is not None and row["note"] == "generated at startup":
        return "of service processes, which get a new one from every hub that starts them"
    return "written in this hub's configuration as well, which decides about them" if _configured(import_, row) else ""


def _configured(import_: "Import", row: SourceRow) -> bool:
    options = import_.hub.options
    tokens = [*options.api_tokens, *(service.api_token for service in options.services if service.api_token)]
    near = [token for token in tokens if token.startswith(row["prefix"])]
    return any(imported_hashes.matches(row["hashed"], token) for token in near)


async def take_shares(import_: "Import", tx: "Transaction") -> None:
    new = []
    for row in import_.source.rows("shares"):
        values = {
            "server_id": import_.servers.get(row["spawner_id"]),
            "user_id": import_.users.get(row["user_id"]),
            "group_id": import_.groups.get(row["group_id"]),
            "scopes": mapping.from_json(row["scopes"], []),
            "created": mapping.moment(row["created_at"]) or tx.now,
        }
        expires = mapping.moment(row["expires_at"])
        if expires is not None and expires <= tx.now:
            import_.report.leave("shares", "", "expired")
        elif values["server_id"] is None or (values["user_id"] is None and values["group_id"] is None):
            import_.report.leave("shares", "", "of servers, users or groups that were not taken")
        else:
            new.append(values)
    await insert_all(tx, schema.shares, new)
    import_.report.take("shares", len(new))


async def take_share_codes(import_: "Import", tx: "Transaction") -> None:
    new = []
    for row in import_.source.rows("share_codes"):
        server_id = import_.servers.get(row["spawner_id"])
        expires = mapping.moment(row["expires_at"])
        if server_id is None:
            import_.report.leave("share codes", "", "of servers that were not taken")
        elif expires is not None and expires <= tx.now:
            import_.report.leave("share codes", "", "expired")
        elif not imported_hashes.is_imported(row["hashed"] or ""):
            import_.report.leave("share codes", "", "without a hash that can be checked")
        else:
            new.append(mapping.share_code_values(row, server_id=server_id, now=tx.now))
    await insert_all(tx, schema.share_codes, new)
    import_.report.take("share codes", len(new))


async def check_auth_states(import_: "Import") -> None:
    """Say before anybody relies on it whether the keys are the right ones."""
    sealed = [row["encrypted_auth_state"] for row in import_.source.rows("users") if row["encrypted_auth_state"]]
    if not sealed:
        return
    if not import_.hub.crypt.available:
        import_.report.notes.append(
            "auth state is taken as it is, but this hub has no key to read it with: set JUPYTERHUB_CRYPT_KEY "
            "(hub.config.CryptKeeper.keys) to what JupyterHub had"
        )
        return
    tried = sealed[:_AUTH_STATES_TRIED]
    unread = sum([await import_.hub.crypt.decrypt(bytes(one)) is None for one in tried])
    if unread:
        import_.report.notes.append(
            f"of {len(tried)} auth states tried, {unread} cannot be read with this hub's keys: those users get "
            "a new one at their next login"
        )
