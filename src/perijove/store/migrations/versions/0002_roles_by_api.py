"""Roles and assignments made through the API, results in the audit trail, failed logins that replicas share."""

import sqlalchemy as sa
from alembic import op

from perijove.store import types

revision = "0002"
down_revision = "0001"

_FROM_API = ("roles", "user_roles", "group_roles", "service_roles")


def upgrade() -> None:
    for table in _FROM_API:
        op.add_column(table, sa.Column("from_api", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("audit", sa.Column("result", types.String(16), server_default="ok", nullable=False))
    op.create_index(op.f("ix_audit_action"), "audit", ["action"], unique=False)
    op.create_index(op.f("ix_audit_actor"), "audit", ["actor"], unique=False)
    op.create_table(
        "login_failures",
        sa.Column("key", types.String(64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last", types.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_failures")),
    )
    op.create_index(op.f("ix_login_failures_last"), "login_failures", ["last"], unique=False)
