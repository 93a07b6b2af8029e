"""Who controlled a task last and how, where its log turned, and attempts that another follows.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TURNS = "('task_complete', 'task_error', 'task_state')"


def upgrade() -> None:
    """Add the columns, and what the log says of them."""
    op.add_column("task", sa.Column("control", sa.String(length=16), nullable=True))
    op.add_column(
        "task", sa.Column("turned", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.alter_column("task", "cancel_requested_by", new_column_name="requested_by")
    op.add_column(
        "agent_run",
        sa.Column("will_retry", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.execute(
        "UPDATE task SET turned = coalesce((SELECT max(seq) FROM event"
        f" WHERE event.task = task.id AND event.type IN {_TURNS}), 0),"
        " control = CASE WHEN requested_by IS NULL THEN NULL ELSE 'cancel' END"
    )
