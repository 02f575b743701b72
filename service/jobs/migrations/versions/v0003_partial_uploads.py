"""Uploads in pieces; callbacks, and what is still to be delivered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    """Two new tables, and where a job wants to be told of."""
    op.create_table(
        "partial_upload",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("result_id", sa.String(40)),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_partial_upload"),
    )
    op.create_index("ix_partial_upload_owner", "partial_upload", ["owner"])
    op.create_index("ix_partial_upload_updated_at", "partial_upload", ["updated_at"])
    op.add_column("job", sa.Column("callback_url", sa.String(2000)))
    op.create_table(
        "delivery",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("due_at", sa.Float(53)),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("delivered_at", sa.Float(53)),
        sa.Column("outcome", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_delivery"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_delivery_job_id", ondelete="CASCADE"),
    )
    op.create_index("ix_delivery_due_at", "delivery", ["due_at"])
