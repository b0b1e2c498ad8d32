"""What one row of JupyterHub's becomes. No database here."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from perijove.domain.names import server_prefix
from perijove.services.jupyterhub_import.source import SourceRow
from perijove.services.secrets import hash_session

# JupyterHub's own client, which tokens of no OAuth client have.
HUB_CLIENT = "jupyterhub"
_SERVER_TOKEN = "Server at "  # noqa: S105 - how notes of such tokens begin
_RETRIEVED_TOKEN = "retrieved from spawner "  # noqa: S105 - as above
_EVERYWHERE = frozenset({"", "*", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound
MAX_SESSION = 64


def moment(value: datetime | None) -> datetime | None:
    """JupyterHub writes naive UTC."""
    if value is None:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def from_json(value: Any, otherwise: Any) -> Any:
    """A JSON column, whether the driver decoded it or not. `otherwise` for NULL and what cannot be read."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return otherwise
    return otherwise if value is None or type(value) is not type(otherwise) else value


def endpoint(server: SourceRow) -> str:
    """Where a server listens, as a URL without path."""
    ip = server["ip"] or ""
    if ip in _EVERYWHERE:
        ip = "127.0.0.1"
    host = f"[{ip}]" if ":" in ip and not ip.startswith("[") else ip
    return f"{server['proto'] or 'http'}://{host}:{server['port']}"


def user_values(row: SourceRow, *, admin: bool, now: datetime) -> dict[str, Any]:
    return {
        "name": row["name"],
        "admin": admin,
        "created": moment(row["created"]) or now,
        "last_activity": moment(row["last_activity"]),
        "user_info": from_json(row["user_info"], {}) or None,
        # The same Fernet over the same JSON under the same keys.
        "encrypted_auth_state": row["encrypted_auth_state"],
        "auth_stale": False,
    }


def server_values(
    row: SourceRow, server: SourceRow | None, *, user_id: int, host: str | None, now: datetime
) -> dict[str, Any]:
    """`server`: where it listens, if it runs."""
    state = from_json(row["state"], {})
    started = moment(row["started"])
    values = {
        "user_id": user_id,
        "name": row["name"] or "",
        "display_name": (row["display_name"] or "")[:255],
        "created": started or now,
        "user_options": from_json(row["user_options"], {}),
        "last_activity": moment(row["last_activity"]),
        "desired": "stopped",
        "observed": "stopped",
        "generation": 0,
        "observed_generation": 0,
        # Of one that does not run: what a spawner wrote to resume it, or to find its volume again.
        "state": state,
        "url": "",
        "started": None,
        "next_poll": None,
        "oauth_client_id": None,
        "host": None,
    }
    if server is not None:
        values |= {
            "desired": "running",
            "observed": "running",
            "generation": 1,
            "observed_generation": 1,
            "url": endpoint(server),
            "started": started or now,
            "last_activity": values["last_activity"] or now,
            "next_poll": now,
            "oauth_client_id": row["oauth_client_id"],
            "host": host,
        }
    return values


def client_values(row: SourceRow, *, server_id: int | None, service_id: int | None) -> dict[str, Any]:
    return {
        "id": row["identifier"],
        "secret_hash": row["secret"] or "",
        "redirect_uri": row["redirect_uri"] or "",
        "allowed_scopes": from_json(row["allowed_scopes"], []),
        "description": row["description"] or "",
        "server_id": server_id,
        "service_id": service_id,
    }


def token_values(
    row: SourceRow, *, user_id: int | None, service_id: int | None, server_id: int | None, now: datetime
) -> dict[str, Any]:
    return {
        "hashed": row["hashed"],
        "prefix": row["prefix"][:8],
        "user_id": user_id,
        "service_id": service_id,
        "client_id": None if row["client_id"] in (None, HUB_CLIENT) else row["client_id"],
        "server_id": server_id,
        "browser_session": (row["session_id"] or "")[:MAX_SESSION],
        "scopes": from_json(row["scopes"], []),
        "note": row["note"] or "",
        "created": moment(row["created"]) or now,
        "last_activity": moment(row["last_activity"]),
        "expires_at": moment(row["expires_at"]),
    }


def share_code_values(row: SourceRow, *, server_id: int, now: datetime) -> dict[str, Any]:
    return {
        # Unique, and the hash of no code: ours are of the code alone.
        "hashed": hash_session(row["hashed"]),
        "prefix": row["prefix"][:8],
        "imported_hash": row["hashed"],
        "server_id": server_id,
        "scopes": from_json(row["scopes"], []),
        "created": moment(row["created_at"]) or now,
        "expires_at": moment(row["expires_at"]),
        "exchange_count": row["exchange_count"] or 0,
        "last_exchanged": moment(row["last_exchanged_at"]),
    }


def token_of_server(note: str, at: Mapping[str, int], named: Mapping[str, int]) -> tuple[bool, int | None]:
    """Whether this is the token that a server authenticates with, and of which running one.

    JupyterHub knows by the note alone: `Server at <base url>`. `at` has running servers by that, `named` those
    of the token's owner by name.
    """
    if note.startswith(_SERVER_TOKEN):
        return True, at.get(note.removeprefix(_SERVER_TOKEN))
    if note.startswith(_RETRIEVED_TOKEN):
        return True, named.get(note.removeprefix(_RETRIEVED_TOKEN))
    return False, None


def mounts_at(base_url: str, user: str, server: str) -> frozenset[str]:
    """Prefixes that mean this server: JupyterHub quotes the user's name a little differently at places."""
    plain = f"{base_url}user/{quote(user, safe='@')}/"
    return frozenset({server_prefix(base_url, user, server), f"{plain}{quote(server)}/" if server else plain})
