"""Quotas: what is left is used up without counting, and counted when nothing is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import LimitExceeded
from orchestrator.store import quotas
from orchestrator.store.database import Connection, Database
from orchestrator.store.migrations import migrate
from orchestrator.store.quotas import Quotas

_COLUMNS = "task_id, owner, title, description, request, agents, job_type, status"


class Table:
    """A task table, and how often it was counted."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.counts = 0
        connection.set_trace_callback(self._see)

    def _see(self, statement: str) -> None:
        self.counts += statement.startswith("SELECT count")

    def add(self, owner: str, number: int) -> None:
        self.connection.execute(
            f"INSERT INTO task ({_COLUMNS}, created, queued, updated)"
            " VALUES (?, ?, '', '', '', '', '', '', 0, 0, 0)",
            (f"{owner}{number}", owner),
        )

    def end(self, owner: str) -> None:
        self.connection.execute("UPDATE task SET ended = 1 WHERE owner = ?", (owner,))


@pytest.fixture
def table() -> Iterator[Table]:
    database = Database(None)
    migrate(database)
    connection = database.connect()
    yield Table(connection)
    connection.close()
    database.close()


def test_an_owner_has_as_many_as_it_may_and_not_one_more(table: Table) -> None:
    limits = Quotas(3)
    for number in range(3):
        assert limits.take(table.connection, "a") is None
        table.add("a", number)
    assert isinstance(limits.take(table.connection, "a"), LimitExceeded)
    assert limits.take(table.connection, "b") is None
    table.end("a")
    assert limits.take(table.connection, "a") is None


def test_what_is_left_is_counted_once(table: Table) -> None:
    limits = Quotas(1000)
    table.add("a", 0)
    for _ in range(999):
        assert limits.take(table.connection, "a") is None
    assert table.counts == 1
    limits.take(table.connection, "a")
    assert table.counts == 2


def test_what_was_rolled_back_is_found_by_the_next_count(table: Table) -> None:
    limits = Quotas(2)
    for number in range(2):
        table.connection.execute("BEGIN")
        assert limits.take(table.connection, "a") is None
        table.add("a", number)
        table.connection.execute("ROLLBACK")
    for number in range(2):
        assert limits.take(table.connection, "a") is None
        table.add("a", number)
    assert isinstance(limits.take(table.connection, "a"), LimitExceeded)


def test_few_owners_are_remembered_and_none_is_let_off(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MAX_OWNERS", 2)
    limits = Quotas(1)
    for owner in "abcd":
        assert limits.take(table.connection, owner) is None
        table.add(owner, 0)
        assert len(limits._left) <= 2
    for owner in "abcd":
        assert isinstance(limits.take(table.connection, owner), LimitExceeded)
