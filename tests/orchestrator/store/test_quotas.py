"""Quotas: what is left is used up without counting, and counted when nothing is."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from functools import partial

import pytest

from orchestrator.errors import LimitExceeded, StorageFull
from orchestrator.store import quotas
from orchestrator.store.database import Connection, Database
from orchestrator.store.migrations import migrate
from orchestrator.store.quotas import Quotas
from tests.orchestrator.store.databases import Gate, writing

_COLUMNS = "task_id, owner, title, description, request, agents, job_type, status"


def add(connection: Connection, owner: str, number: int) -> None:
    connection.execute(
        f"INSERT INTO task ({_COLUMNS}, created, queued, updated)"
        " VALUES (?, ?, '', '', '', '', '', '', 0, 0, 0)",
        (f"{owner}{number}", owner),
    )


def end(connection: Connection, owner: str) -> None:
    connection.execute("UPDATE task SET ended = 1 WHERE owner = ?", (owner,))


class Table:
    """A task table, and how often it was counted."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.counts = 0
        connection.set_trace_callback(self._see)

    def _see(self, statement: str) -> None:
        self.counts += statement.startswith("SELECT count")

    def add(self, owner: str, number: int) -> None:
        add(self.connection, owner, number)

    def end(self, owner: str) -> None:
        end(self.connection, owner)


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


async def test_what_was_counted_in_a_transaction_that_is_undone_lets_nobody_in() -> None:
    limits, gate, ends = Quotas(2), Gate(), False

    def submit(connection: Connection, number: int) -> LimitExceeded | None:
        refused = limits.take(connection, "a")
        if refused is None:
            add(connection, "a", number)
        return refused

    def fail(statement: str) -> int | None:
        nonlocal ends
        if statement.startswith(("BEGIN", "UPDATE task")):
            ends = statement.startswith("UPDATE task")
        return sqlite3.SQLITE_FULL if statement == "COMMIT" and ends else None

    async with writing(at=gate, failing=True) as (_, writer, failing):
        writer.on_rollback = limits.forget
        for number in range(2):
            await writer.submit(partial(submit, number=number))
        failing.fail = fail  # there is room for a task, and none for the end of two
        await gate.hold(writer)
        ended = writer.submit(partial(end, owner="a"))
        third = writer.submit(partial(submit, number=3))
        gate.open()
        async with asyncio.timeout(10):
            with pytest.raises(StorageFull):
                await ended
            with pytest.raises(LimitExceeded):
                await third


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
