"""The writer: everything that waits is committed in one transaction, and only then shown.

An operation is a function of the driver's connection. The writer's thread takes all operations
that wait, runs them in one transaction, commits (one fsync for all of them), and gives the answers
back on the loop, in order. What was handed over is not withdrawn by cancelling who waits.

An operation that is refused writes nothing and returns its `PoststreamError`, which is then raised
where it was asked for. Operations do not fail on their data. If a transaction fails all the same,
it is rolled back and its operations run one transaction each: the guilty one gets its error, the
others go on.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from orchestrator.clock import Clock
from orchestrator.errors import PoststreamError, StorageCorrupt, StorageError, StorageFull
from orchestrator.store.backlog import Backlog, Item, Operation
from orchestrator.store.database import Database
from orchestrator.store.heads import Heads
from orchestrator.turns import Turns

logger = logging.getLogger(__name__)

T = TypeVar("T")

CHECKPOINT_BYTES = 4 * 1024 * 1024  # above it the log is moved into the database
TRUNCATE_BYTES = 64 * 1024 * 1024  # a log that long is cut once it was moved
IDLE_SECONDS = 0.5  # after that long without work the log is moved, however short
RETRY_SECONDS = 1.0  # how often what waits for room is tried again
IO_ERRORS = 3  # in a row; then this process cannot be trusted to store anything
COMMIT_BYTES = 16 * 1024  # a small transaction touches about four pages


class _Mark(NamedTuple):
    """What tells, after an I/O error, whether a transaction was committed."""

    batch: int
    """Of this process's row in `node`."""
    newest: int | None
    """Id of the newest event."""


class _Lost(StorageError):
    """The database cannot be written any more; not what an operation may raise."""


class Writer:
    """The only one that writes to a database.

    Args:
        database: Where.
        node: Id of this process; its row in `node` counts the batches.
        at: Called with the name of each crash point: ``before_begin, before_commit,
            after_commit``. Tests end the process there.
        on_fatal: Called on the loop with the error when nothing can be stored any more.
    """

    on_rollback: Callable[[], None] = staticmethod(lambda: None)
    """Called in the writer's thread when a transaction was undone: what operations remember of it
    is not so."""

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
        self.turns = Turns()
        """Of the loop on which answers are given."""
        self.heads = Heads()
        """Where logs end, for appends."""
        self._backlog = Backlog(self.turns)
        self._loop = asyncio.get_running_loop()
        self._unmoved = 0
        self._fatal: StorageError | None = None
        self._patient = True
        self.commits = 0
        """Transactions committed so far."""
        now_ms = Clock().wall_ms()
        try:
            self._connection.execute(
                "INSERT INTO node (id, started) VALUES (?, ?) "
                "ON CONFLICT (id) DO UPDATE SET batch = 0, started = excluded.started",
                (node, now_ms),
            )
            self._mark = self._read_mark()
        except sqlite3.Error as error:
            self._connection.close()
            if _is_full(error):
                raise StorageFull from error
            raise StorageError(f"The database cannot be written: {error}") from error
        self._thread = threading.Thread(target=self._run, name="poststream-writer", daemon=True)
        self._thread.start()

    def post(
        self,
        operation: Operation[T],
        on_commit: Callable[[T], None],
        on_failure: Callable[[BaseException], None],
        *,
        rows: int = 1,
        size: int = 0,
        waits: bool = False,
        urgent: bool = True,
    ) -> None:
        """Hand over an operation; exactly one of the callbacks is called, on the loop.

        Args:
            operation: Runs in the writer's thread, perhaps more than once; only the last run
                counts.
            on_commit: Called with the answer once it is committed, in the order of commits.
            on_failure: Called with one of the errors below; nothing was stored then.
            rows: About how many rows it writes.
            size: About how many bytes.
            waits: Whether it waits while there is no room (a run does, a request does not).
            urgent: Whether somebody waits for it; if not it may wait a moment for company.

        Errors:
            StorageFull: There is no room, and the operation does not wait.
            StorageError: Nothing can be stored any more.
            PoststreamError: What the operation returned instead of an answer.
            Exception: What the operation raised.
        """
        if self._fatal is not None or self._backlog.closed:
            error = self._fatal or StorageError("The database is closed.")
            self._loop.call_soon(on_failure, error)
            return
        self._backlog.put(Item(operation, on_commit, on_failure, rows, size, waits, urgent))

    def submit(
        self,
        operation: Operation[T],
        on_commit: Callable[[T], None] | None = None,
        *,
        rows: int = 1,
        size: int = 0,
        waits: bool = False,
    ) -> asyncio.Future[T]:
        """As `post`, with a future for the answer; cancelling it withdraws nothing."""
        future: asyncio.Future[T] = self._loop.create_future()

        def committed(answer: T) -> None:
            try:
                if on_commit is not None:
                    on_commit(answer)
            finally:
                if not future.done():
                    future.set_result(answer)

        def failed(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        self.post(operation, committed, failed, rows=rows, size=size, waits=waits)
        return future

    def stop_waiting(self) -> None:
        """From now on there is either room for an operation or it fails with `StorageFull`."""
        self._patient = False

    async def close(self) -> None:
        """Commit what was handed over, then stop."""
        self._backlog.close()
        await asyncio.to_thread(self._thread.join)

    # -- from here on in the writer's thread --------------------------------------------------

    def _run(self) -> None:
        waiting: list[Item] = []  # operations that wait for room
        while True:
            batch = self._backlog.take(timeout=RETRY_SECONDS if waiting else IDLE_SECONDS)
            is_last = self._backlog.is_over
            if not batch and not waiting:
                if is_last:
                    break
                self._checkpoint()
                continue
            # Those that waited go first, so that a run's events keep their order.
            batch = waiting + batch
            waiting = []
            try:
                self.commit(batch)
            except Exception as error:  # this thread must not end before it is told to
                logger.exception("the writer failed")
                self._give_up(batch, StorageError(f"The writer failed: {error!r}"))
            if self._patient:
                waiting = [i for i in batch if isinstance(i.error, StorageFull) and i.waits]
            done = [i for i in batch if i not in waiting] if waiting else batch
            self._loop.call_soon_threadsafe(self._deliver, done)
            if is_last:
                break
            if self._unmoved > CHECKPOINT_BYTES:
                self._checkpoint()
        for item in waiting:
            item.error = StorageError("The process ended while there was no room to store this.")
        self._loop.call_soon_threadsafe(self._deliver, waiting)
        self._checkpoint()
        self._connection.close()

    def commit(self, batch: list[Item]) -> None:
        """Run a batch in one transaction; afterwards each item has its answer or its error."""
        if self._fatal is not None:  # handed over before that was known
            for item in batch:
                item.error = self._fatal
            return
        try:
            self._transact(batch)
        except sqlite3.Error as error:
            self._handle(batch, error)
        except _Lost as error:
            self._give_up(batch, error)
        except Exception:  # an operation's own fault; which one is found by running them alone
            self._rollback()
            self._one_by_one(batch)

    def _transact(self, batch: list[Item]) -> None:
        for attempt in range(IO_ERRORS):
            try:
                self._at("before_begin")
                self._connection.execute("BEGIN IMMEDIATE")
                for item in batch:
                    item.error = None
                    item.answer = item.operation(self._connection)
                    if isinstance(item.answer, PoststreamError):
                        item.error = item.answer
                mark = self._leave_mark()
                self._at("before_commit")
                self._connection.execute("COMMIT")
                break
            except sqlite3.OperationalError as error:
                if not _is_io_error(error):
                    raise
                logger.error("storage error %s, try %d", error, attempt + 1)
                mark = self._reopen()
                if mark != self._mark:
                    break
        else:
            raise _Lost("The database could not be written three times in a row.")
        self._mark = mark
        self.commits += 1
        self._backlog.committed(len(batch))
        self._unmoved += COMMIT_BYTES + sum([item.size for item in batch])
        self._at("after_commit")

    def _leave_mark(self) -> _Mark:
        """Make the database differ from how the last transaction left it.

        Most transactions store events, and that is enough; the others change a row of their own.
        """
        newest = self._read_newest()
        if newest != self._mark.newest:
            return _Mark(self._mark.batch, newest)
        batch = self._mark.batch + 1
        self._connection.execute("UPDATE node SET batch = ? WHERE id = ?", (batch, self._node))
        return _Mark(batch, newest)

    def _read_mark(self) -> _Mark:
        query = "SELECT batch FROM node WHERE id = ?"
        row = self._connection.execute(query, (self._node,)).fetchone()
        return _Mark(-1 if row is None else row[0], self._read_newest())

    def _read_newest(self) -> int | None:
        newest: int | None = self._connection.execute("SELECT max(id) FROM event").fetchone()[0]
        return newest

    def _reopen(self) -> _Mark:
        """After an I/O error the outcome is unknown: ask a new connection for the mark."""
        self._undone()
        for attempt in range(IO_ERRORS):
            try:
                self._connection.close()
                self._connection = self._database.connect()
                return self._read_mark()
            except (sqlite3.Error, StorageError) as error:
                logger.error("storage error %s, reopening, try %d", error, attempt + 1)
                time.sleep(0.05)
        raise _Lost("The database could not be opened three times in a row.")

    def _handle(self, batch: list[Item], error: sqlite3.Error) -> None:
        try:
            self._rollback()
        except _Lost as lost:
            self._give_up(batch, lost)
            return
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

    def _one_by_one(self, batch: list[Item]) -> None:
        for item in batch:
            if self._fatal is not None:
                item.error = self._fatal
                continue
            try:
                self._transact([item])
            except sqlite3.Error as error:
                self._handle([item], error)
            except _Lost as error:
                self._give_up([item], error)
            except Exception as error:  # the guilty one; it gets its error, the others go on
                item.error = error
                try:
                    self._rollback()
                except _Lost as lost:
                    self._give_up([], lost)

    def _undone(self) -> None:
        self.heads.forget()
        self.on_rollback()

    def _rollback(self) -> None:
        self._undone()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._reopen()

    def _give_up(self, batch: list[Item], error: StorageError) -> None:
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

    def _deliver(self, batch: list[Item]) -> None:
        for item in batch:
            try:
                if item.error is None:
                    item.on_commit(item.answer)
                else:
                    item.on_failure(item.error)
            except Exception:  # one that fails must not keep the others from their answers
                logger.exception("a callback failed")


def _code(error: sqlite3.Error) -> int:
    # Errors of the driver itself, e.g. about an argument, have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_full(error: sqlite3.Error) -> bool:
    return _code(error) == sqlite3.SQLITE_FULL


def _is_io_error(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def _is_corrupt(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
