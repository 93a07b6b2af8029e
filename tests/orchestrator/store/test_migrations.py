"""Migrations end where the tables begin."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from orchestrator.store import migrations
from orchestrator.store.database import Database
from orchestrator.store.migrations import migrate
from orchestrator.store.tables import metadata


def test_a_migrated_database_is_what_the_models_say() -> None:
    with closing(Database(None)) as database:
        migrate(database)
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []


def test_every_table_is_made_as_the_models_would_make_it() -> None:
    with closing(Database(None)) as migrated, closing(Database(None)) as made:
        migrate(migrated)
        metadata.create_all(made.engine)
        assert _schema(migrated) == _schema(made)


def _schema(database: Database) -> dict[str, object]:
    found = sqlalchemy.inspect(database.engine)
    return {
        table: (
            [
                (c["name"], str(c["type"]), c["nullable"], _plain(c["default"]))
                for c in found.get_columns(table)
            ],
            sorted((i["name"], i["column_names"], i["unique"]) for i in found.get_indexes(table)),
            sorted(
                (u["name"] or "", u["column_names"]) for u in found.get_unique_constraints(table)
            ),
        )
        for table in found.get_table_names()
        if table != "alembic_version"
    }


def _plain(default: str | None) -> str | None:
    return default and default.strip("()'\"")


def test_an_interrupted_migration_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    real = op.create_table

    def create(name: str, *arguments: object, **options: object) -> object:
        if name == "event":
            raise ZeroDivisionError
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    with closing(Database(None)) as database:
        monkeypatch.setattr(op, "create_table", create)
        with pytest.raises(ZeroDivisionError):
            migrate(database)
        monkeypatch.undo()
        assert sqlalchemy.inspect(database.engine).get_table_names() == []
        migrate(database)


def test_tasks_of_an_earlier_version_know_where_their_log_turned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(Database(None)) as database:
        monkeypatch.setattr(migrations, "HEAD", "0003")
        migrate(database)
        monkeypatch.undo()
        with closing(database.connect()) as connection:
            for id, asked in ((1, "'me'"), (2, "NULL")):
                connection.execute(
                    "INSERT INTO task (id, task_id, owner, title, description, request, agents,"
                    " job_type, status, created, queued, updated, cancel_requested_by)"
                    f" VALUES ({id}, '{id}', 'o', '', '', '', '', 'api', 'failed', 1, 1, 1,"
                    f" {asked})"
                )
            types = "task_created task_state agent_progress task_error agent_progress"
            for seq, type in enumerate(types.split(), start=1):
                connection.execute(
                    "INSERT INTO event (task, seq, type, data) VALUES (1, ?, ?, '')", (seq, type)
                )
            assert migrate(database)[0] == "0003"
            query = "SELECT turned, control, requested_by FROM task ORDER BY id"
            assert connection.execute(query).fetchall() == [(4, "cancel", "me"), (0, None, None)]
