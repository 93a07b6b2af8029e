"""Where a log ends is not kept beside it any more.

Revision ID: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Remove the column: the log says it."""
    op.drop_column("task", "last_seq")
