"""Uploads, jobs, their events and attempts, idempotency keys, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    """Create the tables."""
    for table in ("model", "dataset"):
        op.create_table(
            table,
            sa.Column("id", sa.String(40), nullable=False),
            sa.Column("name", sa.String(255), nullable=False),
            sa.Column("format", sa.String(16), nullable=False),
            sa.Column("sha256", sa.String(64), nullable=False),
            sa.Column("size", sa.BigInteger, nullable=False),
            sa.Column("created_at", sa.Float(53), nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        )
        op.create_index(f"ix_{table}_sha256", table, ["sha256"])
    _jobs()
    op.create_table(
        "worker",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_worker"),
    )


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("model_id", sa.String(40), nullable=False),
        sa.Column("dataset_id", sa.String(40), nullable=False),
        sa.Column("evaluation_id", sa.String(40)),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("stage", sa.String(64)),
        sa.Column("progress", sa.Float(53), nullable=False),
        sa.Column("overall", sa.Float(53), nullable=False),
        sa.Column("eta_s", sa.Float(53)),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("artifacts", sa.JSON, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("published_at", sa.Float(53)),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("finished_at", sa.Float(53)),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    for columns in (["model_id"], ["dataset_id"], ["evaluation_id"], ["state", "lease_until"]):
        op.create_index(f"ix_job_{'_'.join(columns)}", "job", columns)
    op.create_table(
        "job_event",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "seq", name="pk_job_event"),
        _of_a_job("job_event"),
    )
    op.create_table(
        "job_attempt",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(255), nullable=False),
        sa.Column("started_at", sa.Float(53), nullable=False),
        sa.Column("ended_at", sa.Float(53)),
        sa.Column("outcome", sa.String(16)),
        sa.Column("error", sa.JSON),
        sa.PrimaryKeyConstraint("job_id", "fence", name="pk_job_attempt"),
        _of_a_job("job_attempt"),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_key"),
        _of_a_job("idempotency_key"),
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"])


def _of_a_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=f"fk_{table}_job_id", ondelete="CASCADE")
