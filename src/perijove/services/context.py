"""What every use case is handed: the one value that `compose` builds and everybody passes on."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perijove.bus.memory import Bus
from perijove.config.options import HubOptions
from perijove.domain.addresses import Addresses
from perijove.domain.ids import ServerId
from perijove.domain.ports import Authenticator, SpawnerHost
from perijove.domain.rates import Rates
from perijove.lib.clock import Clock
from perijove.services.activity import ActivityBuffer
from perijove.services.auth_state import Crypt
from perijove.services.identity_cache import IdentityCache
from perijove.services.login_queue import LoginQueue
from perijove.services.shutdown_wish import ShutdownWish
from perijove.services.signing import Signer
from perijove.store.database import Store
from perijove.store.gathering import Gathering

if TYPE_CHECKING:
    from perijove.services.server_rows import ServerRow
    from perijove.services.server_steps import Intent, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class HubContext:
    options: HubOptions
    store: Store
    bus: Bus
    clock: Clock
    authenticator: Authenticator
    spawners: SpawnerHost
    crypt: Crypt
    signer: Signer
    identities: IdentityCache
    activity: ActivityBuffer
    logins: LoginQueue = field(default_factory=LoginQueue)
    # What operations on servers are about to write.
    steps: "Gathering[Step, Intent]" = field(default_factory=Gathering)
    # Servers of which somebody waits for the end of a start or a stop, to be read.
    settled: "Gathering[ServerId, ServerRow | None]" = field(default_factory=Gathering)
    shutdown: ShutdownWish = field(default_factory=ShutdownWish)
    rates: Rates = field(default_factory=Rates)
    # Random, one per process: the owner of its leases.
    replica_id: str
    # Name of this machine, for host-bound spawners.
    host: str
    version: str = field(default="")

    @property
    def addresses(self) -> Addresses:
        return self.options.addresses

    @property
    def hub_prefix(self) -> str:
        """`/hub/` below the base URL."""
        return f"{self.options.base_url}hub/"
