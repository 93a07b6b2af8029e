"""The writer: everything that waits is committed in one transaction, and only then shown.

An operation is a function of the driver's connection. The writer's thread takes all operations
that wait, runs them in one transaction, commits (one fsync for all of them), and gives the answers
back on the loop, in order. What was handed over is not withdrawn by cancelling who waits.

An operation that is refused writes nothing and returns its `PoststreamError`, which is then raised
where it was asked for. Operations do not fail on their data. If a transaction fails all the same, it is rolled back and
its operations run one transaction each: the guilty one gets its error, the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from orchestrator.errors import PoststreamError, StorageCorrupt, StorageError, StorageFull
from orchestrator.store.database import Connection, Database

logger = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[[Connection], T | PoststreamError]

BATCH_ROWS = 200  # more rows in one transaction make the slowest commit slower, not all faster
CHECKPOINT_BYTES = 4 * 1024 * 1024  # above it the log is moved into the database
TRUNCATE_BYTES = 64 * 1024 * 1024  # a log that long is cut once it was moved
IDLE_SECONDS = 0.5  # after that long without work the log is moved, however short
RETRY_SECONDS = 1.0  # how often what waits for room is tried again
IO_ERRORS = 3  # in a row; then this process cannot be trusted to store anything
COMMIT_BYTES = 16 * 1024  # a small transaction touches about four pages


class _Item(Generic[T]):
    __slots__ = ("answer", "error", "future", "on_commit", "operation", "rows", "size", "waits")

    def __init__(
        self,
        operation: Operation[T],
        future: asyncio.Future[T],
        on_commit: Callable[[T], None] | None,
        *,
        rows: int,
        size: int,
        waits: bool,
    ) -> None:
        self.operation = operation
        self.future = future
        self.on_commit = on_commit
        self.rows = rows
        self.size = size
        self.waits = waits
        self.answer: T = cast(T, None)
        self.error: BaseException | None = None


class Writer:
    """The only one that writes to a database.

    Args:
        database: Where.
        node: Id of this process; its row in `node` counts the batches.
        at: Called with the name of each crash point: ``before_begin, before_commit,
            after_commit``. Tests end the process there.
        on_fatal: Called on the loop with the error when nothing can be stored any more.
    """

    def __init__(
        self,
        database: Database,
        *,
        node: str,
        at: Callable[[str], None] = lambda _: None,
        on_fatal: Callable[[StorageError], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._node = node
        self._at = at
        self._on_fatal = on_fatal
        self._connection = database.connect()
        self._queue: queue.SimpleQueue[_Item[Any] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._batch = 0
        self._unmoved = 0
        self._fatal: StorageError | None = None
        self.commits = 0
        """Transactions committed so far."""
        self._connection.execute(
            "INSERT INTO node (id, started) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET batch = 0, started = excluded.started",
            (node, int(time.time() * 1000)),
        )
        self._thread = threading.Thread(target=self._run, name="poststream-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        operation: Operation[T],
        on_commit: Callable[[T], None] | None = None,
        *,
        rows: int = 1,
        size: int = 0,
        waits: bool = False,
    ) -> asyncio.Future[T]:
        """Hand over an operation.

        Args:
            operation: Runs in the writer's thread, perhaps more than once; only the last run
                counts.
            on_commit: Called on the loop with the answer, in the order of commits, before the
                future is done.
            rows: About how many rows it writes.
            size: About how many bytes.
            waits: Whether it waits while there is no room (a run does, a request does not).

        Returns:
            The answer, once it is committed. Cancelling it withdraws nothing.

        Raises (by the future):
            StorageFull: There is no room, and the operation does not wait.
            StorageError: Nothing can be stored any more.
            PoststreamError: What the operation returned instead of an answer.
            Exception: What the operation raised; nothing of it was stored.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._fatal is not None:
            future.set_exception(self._fatal)
            return future
        self._queue.put(_Item(operation, future, on_commit, rows=rows, size=size, waits=waits))
        return future

    async def close(self) -> None:
        """Commit what was handed over, then stop."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # -- from here on in the writer's thread --------------------------------------------------

    def _run(self) -> None:
        waiting: list[_Item[Any]] = []  # operations that wait for room
        open_ = True
        while open_:
            batch, open_ = self._take(timeout=RETRY_SECONDS if waiting else IDLE_SECONDS)
            if not batch and not waiting:
                self._checkpoint()
                continue
            # Those that waited go first, so that a run's events keep their order.
            batch = waiting + batch
            waiting = []
            if batch:
                self.commit(batch)
                waiting = [i for i in batch if isinstance(i.error, StorageFull) and i.waits]
                done = [i for i in batch if i not in waiting] if waiting else batch
                self._loop.call_soon_threadsafe(self._deliver, done)
            if self._unmoved > CHECKPOINT_BYTES:
                self._checkpoint()
        for item in waiting:
            item.error = StorageError("The process ended while there was no room to store this.")
        self._loop.call_soon_threadsafe(self._deliver, waiting)
        self._checkpoint()
        self._connection.close()

    def _take(self, *, timeout: float) -> tuple[list[_Item[Any]], bool]:
        """All that waits, up to a batch; False with it when no more will come."""
        batch: list[_Item[Any]] = []
        rows = 0
        try:
            item = self._queue.get(timeout=timeout)
            while item is not None:
                batch.append(item)
                rows += item.rows
                if rows >= BATCH_ROWS:
                    return batch, True
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def commit(self, batch: list[_Item[Any]]) -> None:
        """Run a batch in one transaction; afterwards each item has its answer or its error."""
        try:
            self._transact(batch)
        except sqlite3.Error as error:
            self._handle(batch, error)
        except StorageError as error:
            self._rollback()
            self._give_up(batch, error)
        except Exception:  # an operation's own fault; which one is found by running them alone
            self._rollback()
            self._one_by_one(batch)

    def _transact(self, batch: list[_Item[Any]]) -> None:
        for attempt in range(IO_ERRORS):
            try:
                self._at("before_begin")
                self._connection.execute("BEGIN IMMEDIATE")
                for item in batch:
                    item.error = None
                    item.answer = item.operation(self._connection)
                    if isinstance(item.answer, PoststreamError):
                        item.error = item.answer
                self._connection.execute(
                    "UPDATE node SET batch = ? WHERE id = ?", (self._batch + 1, self._node)
                )
                self._at("before_commit")
                self._connection.execute("COMMIT")
                break
            except sqlite3.OperationalError as error:
                if not _is_io_error(error):
                    raise
                logger.error("storage error %s, try %d", error, attempt + 1)
                if self._reopen():
                    break
        else:
            raise StorageError("The database could not be written three times in a row.")
        self._batch += 1
        self.commits += 1
        self._unmoved += COMMIT_BYTES + sum(item.size for item in batch)
        self._at("after_commit")

    def _reopen(self) -> bool:
        """After an I/O error the outcome is unknown: ask a new connection; True if committed."""
        try:
            self._connection.close()
            self._connection = self._database.connect()
            row = self._connection.execute(
                "SELECT batch FROM node WHERE id = ?", (self._node,)
            ).fetchone()
        except (sqlite3.Error, StorageError):
            time.sleep(0.05)
            return False
        return row is not None and row[0] == self._batch + 1

    def _handle(self, batch: list[_Item[Any]], error: sqlite3.Error) -> None:
        self._rollback()
        if _is_full(error):
            for item in batch:
                item.error = StorageFull()
            if len(batch) > 1:  # a smaller one may still fit
                self._one_by_one(batch)
        elif _is_corrupt(error):
            self._give_up(batch, StorageCorrupt(f"The database is damaged: {error}"))
        elif len(batch) > 1:
            self._one_by_one(batch)
        else:
            logger.error("operation failed: %s", error, exc_info=error)
            batch[0].error = StorageError("The database refused an operation.")

    def _one_by_one(self, batch: list[_Item[Any]]) -> None:
        for item in batch:
            try:
                self._transact([item])
            except sqlite3.Error as error:
                self._handle([item], error)
            except StorageError as error:
                self._rollback()
                self._give_up([item], error)
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                self._rollback()
                item.error = error

    def _rollback(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._reopen()

    def _give_up(self, batch: list[_Item[Any]], error: StorageError) -> None:
        for item in batch:
            item.error = error
        if self._fatal is None:
            self._fatal = error
            self._loop.call_soon_threadsafe(self._on_fatal, error)

    def _checkpoint(self) -> None:
        """Move the log into the database, between transactions and never inside a commit."""
        if not self._unmoved:
            return
        try:
            _, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages * 4096 > TRUNCATE_BYTES:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._unmoved = 0
        except sqlite3.Error as error:  # nothing is lost: the next one moves it
            logger.warning("checkpoint failed: %s", error)

    # -- on the loop again ---------------------------------------------------------------------

    def _deliver(self, batch: list[_Item[Any]]) -> None:
        for item in batch:
            if item.error is None and item.on_commit is not None:
                item.on_commit(item.answer)
            if item.future.done():  # nobody waits any more
                continue
            if item.error is not None:
                item.future.set_exception(item.error)
            else:
                item.future.set_result(item.answer)


def _is_full(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL


def _is_io_error(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def _is_corrupt(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
