"""Connections to one database: one for the writer, a few for readers.

A read is one short transaction in a thread of its own; none stays open across an await, since an
open one keeps the write-ahead log from being moved into the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session as Session

from orchestrator.errors import StorageCorrupt, StorageError
from orchestrator.store.lock import FileLock

logger = logging.getLogger(__name__)

T = TypeVar("T")
F = TypeVar("F")
Connection = sqlite3.Connection
"""What an operation works on: the driver's own connection (DBAPI)."""

READERS = 4
MIN_SQLITE = (3, 35, 0)  # RETURNING
BUSY_TIMEOUT_MS = 10_000  # only a second process could make us wait, and the lock keeps it out


@functools.lru_cache(maxsize=256)
def assignments(*names: str) -> str:
    """What an UPDATE sets: ``a = ?, b = ?``.

    Only what changes: the driver takes as long for a None as for ten numbers.
    """
    return ", ".join([f"{name} = ?" for name in names])


class Database:
    """An SQLite file, locked for this process.

    Args:
        path: The file; its folder must exist. None for one in a private temporary folder, without
            fsync, gone when it is closed.

    Raises:
        StorageLocked: Another process works on it.
        StorageCorrupt: It is damaged or no database; it was not touched.
        StorageError: SQLite is too old, or the folder cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise StorageError(
                f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed."
            )
        self.temporary = path is None
        self.path = path if path is not None else _temporary_folder() / "tasks.db"
        try:
            self._lock = FileLock(self.path)
        except OSError as error:
            raise StorageError(f"The folder of the database cannot be used: {error}") from error
        try:
            _check_readable(self.path)
            self.connect().close()
        except BaseException:
            self._lock.close()
            raise
        self.engine = sqlalchemy.create_engine(
            "sqlite://",
            creator=self.connect,
            poolclass=sqlalchemy.QueuePool,
            pool_size=READERS,
            max_overflow=0,
        )
        event.listen(self.engine, "begin", _begin)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="poststream-reader")

    def announce(self, address: str) -> None:
        """Tell a second process, should one come, where this one can be reached."""
        self._lock.announce(address)

    @property
    def size(self) -> int:
        """Bytes of the file and of the log that is not in it yet."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def connect(self) -> Connection:
        """Open a connection of the driver, in autocommit mode: transactions are begun by hand."""
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'OFF' if self.temporary else 'FULL'}")
            # The writer moves the log between its transactions; see Writer.
            connection.execute("PRAGMA wal_autocheckpoint=0")
            if sys.platform == "darwin":
                connection.execute("PRAGMA fullfsync=ON")
        except sqlite3.OperationalError as error:
            raise StorageError(f"The database {self.path} cannot be opened: {error}") from error
        return connection

    async def read(self, function: Callable[[Session], T]) -> T:
        """Run a function in one read transaction, in a thread, and return its answer."""
        return await self._in_thread(self._read, function)

    async def read_rows(self, function: Callable[[Connection], T]) -> T:
        """As `read`, on the driver's connection: for pages of a log, where a session costs most."""
        return await self._in_thread(self._read_rows, function)

    async def _in_thread(self, read: Callable[[F], T], function: F) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, read, function)

    def _read(self, function: Callable[[Session], T]) -> T:
        with _storage_errors(), Session(self.engine) as session:
            return function(session)

    def _read_rows(self, function: Callable[[Connection], T]) -> T:
        with _storage_errors(), contextlib.closing(self.engine.raw_connection()) as pooled:
            connection: Any = pooled.driver_connection
            connection.execute("BEGIN")
            return function(connection)  # the pool rolls back what it is given back

    def close(self) -> None:
        """Close all reading connections and free the lock."""
        self._readers.shutdown()
        self.engine.dispose()
        self._lock.close()
        if self.temporary:
            shutil.rmtree(self.path.parent, ignore_errors=True)


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        logger.error("a read failed: %s", error)
        raise StorageError("The database could not be read.") from error


def _begin(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN")  # the driver begins none for a SELECT


def _check_readable(path: Path) -> None:
    """Look at the file without being able to change it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as probe:
            probe.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise StorageCorrupt(
            f"The database {path} cannot be read ({error}). It was left as it is: restore a "
            "backup, or move it away to start with an empty one."
        ) from error


_PREFIX = "poststream-"


def _temporary_folder() -> Path:
    """A private folder; folders whose process died are removed on the way."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/tasks.db.lock"):
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left.parent, ignore_errors=True)
            finally:
                os.close(descriptor)
    return Path(tempfile.mkdtemp(prefix=_PREFIX))
