"""The span a job was made in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    """One new column."""
    op.add_column("job", sa.Column("traceparent", sa.String(64)))
