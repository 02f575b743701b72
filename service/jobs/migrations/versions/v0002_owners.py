"""API keys, owners and quotas; queues and pauses; an id that database and files share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """What is there already belongs to whoever used the service without a key."""
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("revoked_at", sa.Float(53)),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_installation"),
    )
    op.create_table(
        "stage_total",
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("stage", name="pk_stage_total"),
    )
    for table in ("model", "dataset", "job"):
        op.add_column(table, _text("owner", 40, "local"))
        op.create_index(f"ix_{table}_owner", table, ["owner"])
    op.add_column("job", _text("queue", 48, "any"))
    op.add_column("job", sa.Column("retry_of", sa.String(40)))
    op.add_column("job", sa.Column("artifact_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("job", sa.Column("not_before", sa.Float(53)))
    op.add_column("worker", _text("queues", 255, "any"))
    _keys_by_owner()


def _text(name: str, length: int, default: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False, server_default=default)


def _keys_by_owner() -> None:
    """SQLite cannot change a primary key: the table is made anew."""
    op.drop_index("ix_idempotency_key_created_at", "idempotency_key")
    op.rename_table("idempotency_key", "idempotency_key_0001")
    op.create_table(
        "idempotency_key",
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        # Named anew: PostgreSQL keeps the names of the old table's constraints until it is gone.
        sa.PrimaryKeyConstraint("owner", "key", name="pk_idempotency_key_0002"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_idempotency_key_job_id_0002", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"])
    op.execute(
        "INSERT INTO idempotency_key (owner, key, fingerprint, job_id, created_at) "
        "SELECT 'local', key, fingerprint, job_id, created_at FROM idempotency_key_0001"
    )
    op.drop_table("idempotency_key_0001")
