"""The OAuth 2 provider's rows: clients, codes, the tokens exchanged for them. No HTTP here.

A code is used once even when two replicas get it at the same time: the DELETE that finds it decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perijove.domain.ids import ServerId, ServiceId

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity
    from perijove.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered OAuth client: somebody's server, or a service."""

    id: str
    redirect_uri: str
    allowed_scopes: tuple[str, ...]
    description: str
    server_id: ServerId | None = None
    # Owner and name of the server, if it is one.
    user_name: str = ""
    server_name: str = ""
    service_id: ServiceId | None = None
    service_name: str = ""
    no_confirm: bool = False


async def put_client(
    tx: "Transaction",
    *,
    client_id: str,
    secret: str,
    redirect_uri: str,
    allowed_scopes: Sequence[str] = (),
    description: str = "",
    server_id: ServerId | None = None,
    service_id: ServiceId | None = None,
) -> None:
    """Register or update (same id) within the caller's transaction."""
    raise NotImplementedError


async def delete_client(tx: "Transaction", client_id: str) -> None:
    """Delete a client; its codes and tokens go with it. Emits for every owner of such a token."""
    raise NotImplementedError


async def get_client(hub: "HubContext", client_id: str) -> Client | None:
    raise NotImplementedError


async def has_consented(
    hub: "HubContext", identity: "Identity", client: Client, scopes: Sequence[str]
) -> bool:
    """Whether a live token of this user and client already carries all `scopes`."""
    raise NotImplementedError
