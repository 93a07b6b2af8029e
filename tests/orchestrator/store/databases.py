"""A real database and its writer, and what can go wrong with a connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.errors import StorageError
from orchestrator.store.database import Connection, Database
from orchestrator.store.migrations import migrate
from orchestrator.store.writer import Writer


class Gate:
    """Holds the writer's thread before its next transaction, so that a batch can be put together.

    Hand it over as the writer's ``at``.
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._reached = threading.Event()

    def __call__(self, point: str) -> None:
        if point == "before_begin" and not self._open.is_set():
            self._reached.set()
            assert self._open.wait(10), "nobody opened the gate"

    async def hold(self, writer: Writer) -> None:
        """Close it; returns when the writer stands before it with an operation of its own."""
        self._reached.clear()
        self._open.clear()
        writer.submit(lambda _: None, waits=True)
        assert await asyncio.to_thread(self._reached.wait, 10)

    def open(self) -> None:
        """Let the writer go on: everything handed over meanwhile is one batch."""
        self._open.set()


class Failing:
    """Fails every n-th call of a kind with an error code of SQLite.

    Args:
        connect: Opens real connections.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self.fail: Callable[[str], int | None] = lambda _: None
        """Asked before each statement: the error code to fail with, if any."""
        self.after: Callable[[str], int | None] = lambda _: None
        """Asked after each statement that worked."""
        self.refuse_connections = 0
        """How many connections are refused from now on."""
        self.connections = 0

    def connect(self) -> Any:
        if self.refuse_connections:
            self.refuse_connections -= 1
            raise StorageError("cannot be opened")
        self.connections += 1
        return _Connection(self._connect(), self)


class _Connection:
    def __init__(self, real: Connection, failing: Failing) -> None:
        self._real = real
        self._failing = failing

    def execute(self, statement: str, *arguments: Any) -> Any:
        _raise(self._failing.fail(statement))
        answer = self._real.execute(statement, *arguments)
        _raise(self._failing.after(statement))
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _raise(code: int | None) -> None:
    if code is not None:
        error = sqlite3.OperationalError(f"error {code}")
        error.sqlite_errorcode = code
        raise error


@asynccontextmanager
async def writing(
    path: Path | None = None, *, failing: bool = False, **options: Any
) -> AsyncIterator[tuple[Database, Writer, Failing]]:
    """A migrated database with its writer and, for tests, a table ``note``."""
    database = Database(path)
    try:
        migrate(database)
        wrapped = Failing(database.connect)
        if failing:
            database.connect = wrapped.connect  # type: ignore[method-assign]
        writer = Writer(database, node="test", **options)
        try:
            await writer.submit(make_notes)
            yield database, writer, wrapped
        finally:
            await writer.close()
    finally:
        database.close()


def make_notes(connection: Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS note (text TEXT)")


def sql(statement: str) -> Callable[[Connection], None]:
    """An operation that runs a statement."""

    def operation(connection: Connection) -> None:
        connection.execute(statement)

    return operation


def note(text: str) -> Callable[[Connection], str]:
    """An operation that stores a note and answers with it."""

    def operation(connection: Connection) -> str:
        connection.execute("INSERT INTO note (text) VALUES (?)", (text,))
        return text

    return operation


def notes(database: Database) -> list[str]:
    """What is stored, read by a connection of its own."""
    connection = sqlite3.connect(database.path)
    try:
        return [row[0] for row in connection.execute("SELECT text FROM note ORDER BY rowid")]
    finally:
        connection.close()
