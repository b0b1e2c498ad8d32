"""Tables. Alembic migrations in `migrations/` build them; a test compares the two.

Two versions of the code share one schema during a rolling upgrade, so a change here is made in
three releases: expand (add, nullable), deploy, contract (docs/explanation/databases.md). Names of tables
are ours; JupyterHub's `spawners` are our `servers`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    false,
)

from perijove.store.types import BLOB, CLIENT_ID, FLOAT, ID, JSON, NAME, SUBJECT, TEXT, String, UTCDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", ID, primary_key=True, autoincrement=True)


def _ref(name: str, target: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    return Column(name, ID, ForeignKey(target, ondelete="CASCADE"), nullable=nullable, index=index)


# One row each of: "epoch" (random, made with the database: tells proxies that revisions of another
# database mean nothing), "cookie_secret" (hex; only when none is configured), "hub_id" (random,
# marks what this hub starts), "proxy_token".
meta = Table("meta", metadata, Column("key", String(64), primary_key=True), Column("value", TEXT, nullable=False))

# The single counter row, id 1. Updated last in every transaction that emits events, so that
# revisions become visible in the order of commits.
revision = Table(
    "revision", metadata, Column("id", Integer, primary_key=True), Column("value", BigInteger, nullable=False)
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("name", NAME, nullable=False, unique=True),
    Column("admin", Boolean, nullable=False, default=False),
    Column("created", UTCDateTime, nullable=False),
    Column("last_activity", UTCDateTime, index=True),
    Column("user_info", JSON),
    Column("encrypted_auth_state", BLOB),
    # When the authenticator last said yes, and whether it has since said "log in again".
    Column("auth_refreshed", UTCDateTime),
    Column("auth_stale", Boolean, nullable=False, default=False),
    sqlite_autoincrement=True,
)

groups = Table(
    "groups",
    metadata,
    _id(),
    Column("name", NAME, nullable=False, unique=True),
    Column("properties", JSON, nullable=False, default=dict),
)

user_groups = Table(
    "user_groups",
    metadata,
    Column("user_id", ID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", ID, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True, index=True),
)

services = Table(
    "services",
    metadata,
    _id(),
    Column("name", NAME, nullable=False, unique=True),
    Column("admin", Boolean, nullable=False, default=False),
    Column("url", TEXT),
    Column("info", JSON, nullable=False, default=dict),
    Column("display", Boolean, nullable=False, default=True),
    Column("oauth_no_confirm", Boolean, nullable=False, default=False),
    Column("oauth_client_id", CLIENT_ID),
    # Defined in the configuration: not editable through the API, removed when no longer configured.
    Column("from_config", Boolean, nullable=False, default=False),
)

roles = Table(
    "roles",
    metadata,
    _id(),
    Column("name", NAME, nullable=False, unique=True),
    Column("description", TEXT, nullable=False, default=""),
    Column("scopes", JSON, nullable=False, default=list),
    Column("managed_by_auth", Boolean, nullable=False, default=False),
    # Made through the REST API or the admin page: stays although no configuration names it.
    Column("from_api", Boolean, nullable=False, default=False, server_default=false()),
)


def _role_map(kind: str) -> Table:
    return Table(
        f"{kind}_roles",
        metadata,
        Column(f"{kind}_id", ID, ForeignKey(f"{kind}s.id", ondelete="CASCADE"), primary_key=True),
        Column("role_id", ID, ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True, index=True),
        Column("managed_by_auth", Boolean, nullable=False, default=False),
        # Assigned through the REST API or the admin page.
        Column("from_api", Boolean, nullable=False, default=False, server_default=false()),
    )


user_roles = _role_map("user")
group_roles = _role_map("group")
service_roles = _role_map("service")

servers = Table(
    "servers",
    metadata,
    _id(),
    _ref("user_id", "users.id"),
    # "" is the default server.
    Column("name", NAME, nullable=False),
    Column("display_name", NAME, nullable=False, default=""),
    Column("created", UTCDateTime, nullable=False),
    # -- intent: written by requests
    Column("desired", String(16), nullable=False, default="stopped"),
    # Counts requested starts; events and failures carry it.
    Column("generation", Integer, nullable=False, default=0),
    Column("user_options", JSON, nullable=False, default=dict),
    Column("requested_by", SUBJECT),
    Column("requested_at", UTCDateTime),
    # -- observation: written by the holder of the lease
    Column("observed", String(16), nullable=False, default="stopped"),
    Column("phase", String(16), nullable=False, default=""),
    # The generation that `observed` speaks of.
    Column("observed_generation", Integer, nullable=False, default=0),
    Column("state", JSON, nullable=False, default=dict),
    Column("url", TEXT, nullable=False, default=""),
    Column("started", UTCDateTime),
    Column("last_activity", UTCDateTime),
    # Start or stop must be over by then; after it anyone may end it as failed.
    Column("deadline", UTCDateTime),
    # {"generation", "reason", "message", "html_message", "details", "status", "at"} of the last failed
    # start or unexpected end; NULL after a good start.
    Column("failure", JSON),
    Column("next_poll", UTCDateTime, index=True),
    Column("oauth_client_id", CLIENT_ID),
    # -- lease
    Column("host", NAME),  # set when the spawner is host-bound
    Column("lease_owner", String(64)),
    Column("lease_epoch", Integer, nullable=False, default=0),
    Column("lease_expires", UTCDateTime),
    # Back-off after an attempt that could not be settled.
    Column("next_attempt", UTCDateTime),
    Column("attempts", Integer, nullable=False, default=0),
    UniqueConstraint("user_id", "name"),
    Index(None, "desired", "observed"),
    Index(None, "observed", "last_activity"),
    # The id marks processes and pods, which may outlive the row: it must never be given out again.
    sqlite_autoincrement=True,
)

# Progress of starts: rows, so that any replica serves anyone's stream. Trimmed when the next start begins.
server_events = Table(
    "server_events",
    metadata,
    _id(),
    _ref("server_id", "servers.id"),
    Column("generation", Integer, nullable=False),
    Column("at", UTCDateTime, nullable=False),
    # The SSE object: {"progress", "message", "html_message"?, "ready"?, "failed"?, "url"?}
    Column("event", JSON, nullable=False),
    Index(None, "server_id", "generation", "id"),
)

oauth_clients = Table(
    "oauth_clients",
    metadata,
    Column("id", CLIENT_ID, primary_key=True),
    Column("secret_hash", TEXT, nullable=False),
    Column("redirect_uri", TEXT, nullable=False),
    Column("allowed_scopes", JSON, nullable=False, default=list),
    Column("description", TEXT, nullable=False, default=""),
    _ref("server_id", "servers.id", nullable=True, index=True),
    _ref("service_id", "services.id", nullable=True, index=True),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    # sha256 of the secret in the login cookie.
    Column("hashed", String(64), nullable=False, unique=True),
    _ref("user_id", "users.id", index=True),
    # The value of `jupyterhub-session-id`, recorded on OAuth tokens too.
    Column("browser_session", String(64), nullable=False, index=True),
    Column("created", UTCDateTime, nullable=False),
    Column("last_seen", UTCDateTime, nullable=False),
    Column("expires_at", UTCDateTime, nullable=False, index=True),
    Column("user_agent", String(255), nullable=False, default=""),
    Column("address", String(64), nullable=False, default=""),
)

oauth_codes = Table(
    "oauth_codes",
    metadata,
    Column("hashed", String(64), primary_key=True),
    Column("client_id", CLIENT_ID, ForeignKey("oauth_clients.id", ondelete="CASCADE"), nullable=False, index=True),
    _ref("user_id", "users.id", index=True),
    Column("redirect_uri", TEXT, nullable=False),
    Column("browser_session", String(64), nullable=False, default=""),
    Column("scopes", JSON, nullable=False, default=list),
    Column("challenge", String(128), nullable=False, default=""),
    Column("challenge_method", String(16), nullable=False, default=""),
    Column("expires_at", UTCDateTime, nullable=False, index=True),
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    # "sha256:<hex>" for tokens made here (random, so one round suffices); imported JupyterHub hashes
    # keep their own form, found by prefix.
    Column("hashed", String(255), nullable=False, unique=True),
    Column("prefix", String(8), nullable=False, index=True),
    _ref("user_id", "users.id", nullable=True, index=True),
    _ref("service_id", "services.id", nullable=True, index=True),
    # NULL: issued by the hub itself.
    Column("client_id", CLIENT_ID, ForeignKey("oauth_clients.id", ondelete="CASCADE"), index=True),
    # Set on the token that a server authenticates with.
    _ref("server_id", "servers.id", nullable=True, index=True),
    Column("browser_session", String(64), nullable=False, default="", index=True),
    Column("scopes", JSON, nullable=False, default=list),
    Column("note", TEXT, nullable=False, default=""),
    Column("created", UTCDateTime, nullable=False),
    Column("last_activity", UTCDateTime),
    Column("expires_at", UTCDateTime, index=True),
    # Configured (`services[].api_token`, `api_tokens`): replaced when the configuration changes.
    Column("from_config", Boolean, nullable=False, default=False),
)

shares = Table(
    "shares",
    metadata,
    _id(),
    _ref("server_id", "servers.id", index=True),
    _ref("user_id", "users.id", nullable=True, index=True),
    _ref("group_id", "groups.id", nullable=True, index=True),
    Column("scopes", JSON, nullable=False, default=list),
    Column("created", UTCDateTime, nullable=False),
    UniqueConstraint("server_id", "user_id"),
    UniqueConstraint("server_id", "group_id"),
)

share_codes = Table(
    "share_codes",
    metadata,
    _id(),
    Column("hashed", String(64), nullable=False, unique=True),
    _ref("server_id", "servers.id", index=True),
    Column("scopes", JSON, nullable=False, default=list),
    Column("created", UTCDateTime, nullable=False),
    # Of a code that came from JupyterHub, until it is first shown: its salted hash, found by the code's first
    # characters. `hashed` is then the hash of nothing that anybody holds.
    Column("prefix", String(8), index=True),
    Column("imported_hash", String(255)),
    Column("expires_at", UTCDateTime, index=True),
    Column("exchange_count", Integer, nullable=False, default=0),
    Column("last_exchanged", UTCDateTime),
)

# Who did what to whom: login, logout, start, stop, token and user changes. Never secrets.
audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", UTCDateTime, nullable=False, index=True),
    Column("action", String(64), nullable=False, index=True),
    Column("actor", SUBJECT, nullable=False, default="", index=True),
    Column("subject", SUBJECT, nullable=False, default="", index=True),
    Column("address", String(64), nullable=False, default=""),
    Column("correlation_id", String(64), nullable=False, default=""),
    # "ok", or why it was refused: "denied", "failed", "throttled".
    Column("result", String(16), nullable=False, default="ok", server_default="ok"),
    Column("data", JSON, nullable=False, default=dict),
)

# Failed logins, so that guessing is slowed down by all replicas together. `key` is a hash of account and
# address, or of the account alone: names that nobody has are not kept in the clear.
login_failures = Table(
    "login_failures",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("count", Integer, nullable=False, default=0),
    Column("last", UTCDateTime, nullable=False, index=True),
)

outbox = Table(
    "outbox",
    metadata,
    Column("revision", ID, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("key", SUBJECT, nullable=False),
    Column("data", JSON, nullable=False, default=dict),
    Column("at", UTCDateTime, nullable=False, index=True),
)

# Singletons (cull, purge, orphan sweep, start-up work): whoever holds the row does the work.
leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("epoch", Integer, nullable=False, default=0),
    Column("expires", UTCDateTime, nullable=False),
    # When the work was last done, for chores with a period.
    Column("done", UTCDateTime),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", NAME, nullable=False),
    # With `host` these tell a hub that starts which earlier one on its machine is surely dead, so that
    # its leases need not be waited for. `process_started` is in seconds since the epoch.
    Column("pid", Integer, nullable=False),
    Column("process_started", FLOAT, nullable=False),
    Column("version", String(64), nullable=False),
    Column("started", UTCDateTime, nullable=False),
    Column("heartbeat", UTCDateTime, nullable=False, index=True),
)
