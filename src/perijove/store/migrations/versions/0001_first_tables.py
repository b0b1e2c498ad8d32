"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

from perijove.store import types

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("at", types.UTCDateTime(), nullable=False),
        sa.Column("action", types.String(64), nullable=False),
        sa.Column("actor", types.SUBJECT, nullable=False),
        sa.Column("subject", types.SUBJECT, nullable=False),
        sa.Column("address", types.String(64), nullable=False),
        sa.Column("correlation_id", types.String(64), nullable=False),
        sa.Column("data", types.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)
    op.create_table(
        "groups",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("name", types.NAME, nullable=False),
        sa.Column("properties", types.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("name", name=op.f("uq_groups_name")),
    )
    op.create_table(
        "leases",
        sa.Column("name", types.String(64), nullable=False),
        sa.Column("owner", types.String(64), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires", types.UTCDateTime(), nullable=False),
        sa.Column("done", types.UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "meta",
        sa.Column("key", types.String(64), nullable=False),
        sa.Column("value", types.TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "revision",
            types.ID,
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("kind", types.String(16), nullable=False),
        sa.Column("key", types.SUBJECT, nullable=False),
        sa.Column("data", types.JSON, nullable=False),
        sa.Column("at", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_at"), "outbox", ["at"], unique=False)
    op.create_table(
        "replicas",
        sa.Column("id", types.String(64), nullable=False),
        sa.Column("host", types.NAME, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", types.FLOAT, nullable=False),
        sa.Column("version", types.String(64), nullable=False),
        sa.Column("started", types.UTCDateTime(), nullable=False),
        sa.Column("heartbeat", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replicas")),
    )
    op.create_index(op.f("ix_replicas_heartbeat"), "replicas", ["heartbeat"], unique=False)
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision")),
    )
    op.create_table(
        "roles",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("name", types.NAME, nullable=False),
        sa.Column("description", types.TEXT, nullable=False),
        sa.Column("scopes", types.JSON, nullable=False),
        sa.Column("managed_by_auth", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roles")),
        sa.UniqueConstraint("name", name=op.f("uq_roles_name")),
    )
    op.create_table(
        "services",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("name", types.NAME, nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("url", types.TEXT, nullable=True),
        sa.Column("info", types.JSON, nullable=False),
        sa.Column("display", sa.Boolean(), nullable=False),
        sa.Column("oauth_no_confirm", sa.Boolean(), nullable=False),
        sa.Column("oauth_client_id", types.CLIENT_ID, nullable=True),
        sa.Column("from_config", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
        sa.UniqueConstraint("name", name=op.f("uq_services_name")),
    )
    op.create_table(
        "users",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("name", types.NAME, nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created", types.UTCDateTime(), nullable=False),
        sa.Column("last_activity", types.UTCDateTime(), nullable=True),
        sa.Column("user_info", types.JSON, nullable=True),
        sa.Column("encrypted_auth_state", types.BLOB, nullable=True),
        sa.Column("auth_refreshed", types.UTCDateTime(), nullable=True),
        sa.Column("auth_stale", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_users_last_activity"), "users", ["last_activity"], unique=False)
    op.create_table(
        "group_roles",
        sa.Column("group_id", types.ID, nullable=False),
        sa.Column("role_id", types.ID, nullable=False),
        sa.Column("managed_by_auth", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_group_roles_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_group_roles_role_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "role_id", name=op.f("pk_group_roles")),
    )
    op.create_index(op.f("ix_group_roles_role_id"), "group_roles", ["role_id"], unique=False)
    op.create_table(
        "servers",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("user_id", types.ID, nullable=False),
        sa.Column("name", types.NAME, nullable=False),
        sa.Column("display_name", types.NAME, nullable=False),
        sa.Column("created", types.UTCDateTime(), nullable=False),
        sa.Column("desired", types.String(16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("user_options", types.JSON, nullable=False),
        sa.Column("requested_by", types.SUBJECT, nullable=True),
        sa.Column("requested_at", types.UTCDateTime(), nullable=True),
        sa.Column("observed", types.String(16), nullable=False),
        sa.Column("phase", types.String(16), nullable=False),
        sa.Column("observed_generation", sa.Integer(), nullable=False),
        sa.Column("state", types.JSON, nullable=False),
        sa.Column("url", types.TEXT, nullable=False),
        sa.Column("started", types.UTCDateTime(), nullable=True),
        sa.Column("last_activity", types.UTCDateTime(), nullable=True),
        sa.Column("deadline", types.UTCDateTime(), nullable=True),
        sa.Column("failure", types.JSON, nullable=True),
        sa.Column("next_poll", types.UTCDateTime(), nullable=True),
        sa.Column("oauth_client_id", types.CLIENT_ID, nullable=True),
        sa.Column("host", types.NAME, nullable=True),
        sa.Column("lease_owner", types.String(64), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("lease_expires", types.UTCDateTime(), nullable=True),
        sa.Column("next_attempt", types.UTCDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_servers_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_servers")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_servers_user_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_servers_desired_observed"), "servers", ["desired", "observed"], unique=False)
    op.create_index(op.f("ix_servers_next_poll"), "servers", ["next_poll"], unique=False)
    op.create_index(op.f("ix_servers_observed_last_activity"), "servers", ["observed", "last_activity"], unique=False)
    op.create_table(
        "service_roles",
        sa.Column("service_id", types.ID, nullable=False),
        sa.Column("role_id", types.ID, nullable=False),
        sa.Column("managed_by_auth", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_service_roles_role_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_service_roles_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("service_id", "role_id", name=op.f("pk_service_roles")),
    )
    op.create_index(op.f("ix_service_roles_role_id"), "service_roles", ["role_id"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("hashed", types.String(64), nullable=False),
        sa.Column("user_id", types.ID, nullable=False),
        sa.Column("browser_session", types.String(64), nullable=False),
        sa.Column("created", types.UTCDateTime(), nullable=False),
        sa.Column("last_seen", types.UTCDateTime(), nullable=False),
        sa.Column("expires_at", types.UTCDateTime(), nullable=False),
        sa.Column("user_agent", types.NAME, nullable=False),
        sa.Column("address", types.String(64), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("hashed", name=op.f("uq_sessions_hashed")),
    )
    op.create_index(op.f("ix_sessions_browser_session"), "sessions", ["browser_session"], unique=False)
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)
    op.create_table(
        "user_groups",
        sa.Column("user_id", types.ID, nullable=False),
        sa.Column("group_id", types.ID, nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_user_groups_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_groups_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "group_id", name=op.f("pk_user_groups")),
    )
    op.create_index(op.f("ix_user_groups_group_id"), "user_groups", ["group_id"], unique=False)
    op.create_table(
        "user_roles",
        sa.Column("user_id", types.ID, nullable=False),
        sa.Column("role_id", types.ID, nullable=False),
        sa.Column("managed_by_auth", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_user_roles_role_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_roles_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "role_id", name=op.f("pk_user_roles")),
    )
    op.create_index(op.f("ix_user_roles_role_id"), "user_roles", ["role_id"], unique=False)
    op.create_table(
        "oauth_clients",
        sa.Column("id", types.CLIENT_ID, nullable=False),
        sa.Column("secret_hash", types.TEXT, nullable=False),
        sa.Column("redirect_uri", types.TEXT, nullable=False),
        sa.Column("allowed_scopes", types.JSON, nullable=False),
        sa.Column("description", types.TEXT, nullable=False),
        sa.Column("server_id", types.ID, nullable=True),
        sa.Column("service_id", types.ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name=op.f("fk_oauth_clients_server_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_oauth_clients_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_clients")),
    )
    op.create_index(op.f("ix_oauth_clients_server_id"), "oauth_clients", ["server_id"], unique=False)
    op.create_index(op.f("ix_oauth_clients_service_id"), "oauth_clients", ["service_id"], unique=False)
    op.create_table(
        "server_events",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("server_id", types.ID, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("at", types.UTCDateTime(), nullable=False),
        sa.Column("event", types.JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name=op.f("fk_server_events_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server_events")),
    )
    op.create_index(
        op.f("ix_server_events_server_id_generation_id"),
        "server_events",
        ["server_id", "generation", "id"],
        unique=False,
    )
    op.create_table(
        "share_codes",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("hashed", types.String(64), nullable=False),
        sa.Column("server_id", types.ID, nullable=False),
        sa.Column("scopes", types.JSON, nullable=False),
        sa.Column("created", types.UTCDateTime(), nullable=False),
        sa.Column("expires_at", types.UTCDateTime(), nullable=True),
        sa.Column("exchange_count", sa.Integer(), nullable=False),
        sa.Column("last_exchanged", types.UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name=op.f("fk_share_codes_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share_codes")),
        sa.UniqueConstraint("hashed", name=op.f("uq_share_codes_hashed")),
    )
    op.create_index(op.f("ix_share_codes_expires_at"), "share_codes", ["expires_at"], unique=False)
    op.create_index(op.f("ix_share_codes_server_id"), "share_codes", ["server_id"], unique=False)
    op.create_table(
        "shares",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("server_id", types.ID, nullable=False),
        sa.Column("user_id", types.ID, nullable=True),
        sa.Column("group_id", types.ID, nullable=True),
        sa.Column("scopes", types.JSON, nullable=False),
        sa.Column("created", types.UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_shares_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_shares_server_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_shares_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
        sa.UniqueConstraint("server_id", "group_id", name=op.f("uq_shares_server_id_group_id")),
        sa.UniqueConstraint("server_id", "user_id", name=op.f("uq_shares_server_id_user_id")),
    )
    op.create_index(op.f("ix_shares_group_id"), "shares", ["group_id"], unique=False)
    op.create_index(op.f("ix_shares_server_id"), "shares", ["server_id"], unique=False)
    op.create_index(op.f("ix_shares_user_id"), "shares", ["user_id"], unique=False)
    op.create_table(
        "oauth_codes",
        sa.Column("hashed", types.String(64), nullable=False),
        sa.Column("client_id", types.CLIENT_ID, nullable=False),
        sa.Column("user_id", types.ID, nullable=False),
        sa.Column("redirect_uri", types.TEXT, nullable=False),
        sa.Column("browser_session", types.String(64), nullable=False),
        sa.Column("scopes", types.JSON, nullable=False),
        sa.Column("challenge", types.String(128), nullable=False),
        sa.Column("challenge_method", types.String(16), nullable=False),
        sa.Column("expires_at", types.UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["oauth_clients.id"], name=op.f("fk_oauth_codes_client_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_oauth_codes_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hashed", name=op.f("pk_oauth_codes")),
    )
    op.create_index(op.f("ix_oauth_codes_client_id"), "oauth_codes", ["client_id"], unique=False)
    op.create_index(op.f("ix_oauth_codes_expires_at"), "oauth_codes", ["expires_at"], unique=False)
    op.create_index(op.f("ix_oauth_codes_user_id"), "oauth_codes", ["user_id"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("id", types.ID, autoincrement=True, nullable=False),
        sa.Column("hashed", types.NAME, nullable=False),
        sa.Column("prefix", types.String(8), nullable=False),
        sa.Column("user_id", types.ID, nullable=True),
        sa.Column("service_id", types.ID, nullable=True),
        sa.Column("client_id", types.CLIENT_ID, nullable=True),
        sa.Column("server_id", types.ID, nullable=True),
        sa.Column("browser_session", types.String(64), nullable=False),
        sa.Column("scopes", types.JSON, nullable=False),
        sa.Column("note", types.TEXT, nullable=False),
        sa.Column("created", types.UTCDateTime(), nullable=False),
        sa.Column("last_activity", types.UTCDateTime(), nullable=True),
        sa.Column("expires_at", types.UTCDateTime(), nullable=True),
        sa.Column("from_config", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["oauth_clients.id"], name=op.f("fk_tokens_client_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_tokens_server_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name=op.f("fk_tokens_service_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hashed", name=op.f("uq_tokens_hashed")),
    )
    op.create_index(op.f("ix_tokens_browser_session"), "tokens", ["browser_session"], unique=False)
    op.create_index(op.f("ix_tokens_client_id"), "tokens", ["client_id"], unique=False)
    op.create_index(op.f("ix_tokens_expires_at"), "tokens", ["expires_at"], unique=False)
    op.create_index(op.f("ix_tokens_prefix"), "tokens", ["prefix"], unique=False)
    op.create_index(op.f("ix_tokens_server_id"), "tokens", ["server_id"], unique=False)
    op.create_index(op.f("ix_tokens_service_id"), "tokens", ["service_id"], unique=False)
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"], unique=False)
