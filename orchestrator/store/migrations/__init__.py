"""Alembic migrations, and `migrate`, which runs them only when the database is behind."""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy

from orchestrator.errors import StorageError
from orchestrator.store.database import Database

logger = logging.getLogger(__name__)

HEAD = "0006"
"""The revision this version works with."""


def current(database: Database) -> str | None:
    """The revision of a database; None for an empty one."""
    with database.engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return None
        row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
        return None if row is None else str(row[0])


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring a database to `HEAD`.

    Returns:
        The revision it had and the one it has.

    Raises:
        StorageError: It was made by a newer version of this program.
    """
    before = current(database)
    if before == HEAD:
        return before, HEAD
    if before is not None and before > HEAD:
        raise StorageError(
            f"The database {database.path} is of revision {before}, made by a newer version; "
            f"this one knows {HEAD}. Update, or use another folder (POSTSTREAM_DATA_DIR)."
        )
    _upgrade(database)
    logger.info("database migrated", extra={"from_revision": before, "to_revision": HEAD})
    return before, HEAD


def _upgrade(database: Database) -> None:
    # Importing Alembic takes a third of a second; most starts need none of it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
