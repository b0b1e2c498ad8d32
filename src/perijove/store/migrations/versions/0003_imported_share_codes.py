"""Share codes that came from JupyterHub, with its own salted hashes."""

import sqlalchemy as sa
from alembic import op

from perijove.store import types

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("share_codes", sa.Column("prefix", types.String(8), nullable=True))
    op.add_column("share_codes", sa.Column("imported_hash", types.String(255), nullable=True))
    op.create_index(op.f("ix_share_codes_prefix"), "share_codes", ["prefix"], unique=False)
