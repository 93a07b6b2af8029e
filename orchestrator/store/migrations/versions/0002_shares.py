"""Shares of tasks, and the keys tickets are signed with.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "share",
        sa.Column("task", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["task"], ["task.id"], name=op.f("fk_share_task")),
        sa.PrimaryKeyConstraint("task", "subject", name=op.f("pk_share")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_share_subject"), "share", ["subject"], unique=False)
    op.create_table(
        "signing_key",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_signing_key")),
    )
