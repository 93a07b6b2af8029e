"""A whole runtime in virtual time, which can die at any moment and be opened again.

Everything is real but three things: the loop's clock jumps over every wait, the writer commits on
the loop instead of in a thread, and so do the reads. Both take a little virtual time, drawn from
one seed, so one seed is one run, and an hour takes milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import selectors
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.agents import AgentRegistry
from orchestrator.clock import Clock
from orchestrator.errors import StorageError
from orchestrator.runtime import assembly
from orchestrator.runtime.service import NODE, TaskService
from orchestrator.settings import RuntimeSettings
from orchestrator.store import listing
from orchestrator.store.backlog import BATCH_ROWS
from orchestrator.store.database import Connection, Database
from orchestrator.store.events import StoredEvent
from orchestrator.store.listing import TaskFilter
from orchestrator.store.migrations import migrate
from orchestrator.store.tables import Task
from orchestrator.store.writer import Writer

T = TypeVar("T")
F = TypeVar("F")

IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # else wherever temporary files go
MOST_SECONDS = 100_000.0  # of virtual time, for anything that is waited for
LATENCY_SECONDS = 0.003  # of a commit or a read, at most


_COMPILED: dict[Any, Any] = {}
"""Statements that one life has compiled are there for the next."""


class Crash(SystemExit):
    """The process is gone: nothing catches this on its way out of the loop."""


class Stalled(AssertionError):
    """Nothing is ready, nothing is scheduled, and somebody waits all the same."""


class _Selector(selectors.SelectSelector):
    """Never waits: tells the loop's clock to jump instead."""

    def __init__(self) -> None:
        super().__init__()
        self.jump: Callable[[float], None] = lambda _: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise Stalled("nothing can happen any more")
            self.jump(timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when there is nothing else to do."""

    def __init__(self, *, now: float = 0.0) -> None:
        selector = _Selector()
        super().__init__(selector)
        self._virtual = now
        selector.jump = self._jump

    def time(self) -> float:
        return self._virtual

    def _jump(self, seconds: float) -> None:
        self._virtual += max(seconds, 1e-6)


class VirtualClock(Clock):
    """Wall time follows the loop's, plus every jump that a test makes."""

    def __init__(self, entropy: random.Random) -> None:
        super().__init__(entropy)
        self.offset_ms = 1_700_000_000_000

    def wall_ms(self) -> int:
        return self.offset_ms + int(asyncio.get_running_loop().time() * 1000)


class InlineDatabase(Database):
    """Reads on the loop, a moment later."""

    delay: Callable[[], float]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.engine.update_execution_options(compiled_cache=_COMPILED)
        self._looking = sqlite3.connect(path, isolation_level=None)

    def look(self, query: str, *values: object) -> list[Any]:
        """What is stored this moment, for a test; no time passes."""
        return self._looking.execute(query, values).fetchall()

    def close(self) -> None:
        self._looking.close()
        super().close()

    def connect(self) -> Connection:
        connection = super().connect()
        connection.execute("PRAGMA synchronous=OFF")  # a test's process is never without power
        return connection

    async def _in_thread(self, read: Callable[[F], T], function: F) -> T:
        await asyncio.sleep(self.delay())
        answer = read(function)
        await asyncio.sleep(0)
        return answer


class InlineWriter(Writer):
    """Commits on the loop, a moment after the first operation came."""

    delay: Callable[[], float]

    def __init__(self, database: Database, **options: Any) -> None:
        super().__init__(database, **options)
        self._thread.join()
        self._items = self._backlog._items
        self._scheduled = False
        self._delivered_at = 0.0
        self.dead = False

    def _run(self) -> None:
        """Nothing happens in the thread."""

    def post(self, operation: Any, on_commit: Any, on_failure: Any, **options: Any) -> None:
        if self.dead:
            return
        super().post(operation, on_commit, on_failure, **options)
        if not self._scheduled and self._items:
            self._scheduled = True
            self._loop.call_later(self.delay(), self._commit_now)

    def _commit_now(self) -> None:
        self._scheduled = False
        if self._backlog.closed and not self._items:
            return
        batch: list[Any] = []
        while self._items and sum(item.rows for item in batch) < BATCH_ROWS:
            batch.append(self._items.popleft())
        self.commit(batch)
        waiting = [i for i in batch if _waits_for_room(i)] if self._patient else []
        # The loop goes on between a commit and its answers, which come in the order of commits.
        at = max(self._loop.time() + self.delay(), self._delivered_at + 1e-6)
        self._delivered_at = at
        self._loop.call_at(at, self._deliver, [i for i in batch if i not in waiting])
        self._items.extendleft(reversed(waiting))  # those that waited go first
        if self._items:
            self._scheduled = True
            self._loop.call_later(1.0 if waiting else self.delay(), self._commit_now)

    async def close(self) -> None:
        self._backlog.closed = True
        self._patient = False
        while self._items:
            self._commit_now()
        await asyncio.sleep(max(0.0, self._delivered_at - self._loop.time()) + 1e-6)
        self._connection.close()

    def die(self) -> None:
        """Nothing is taken any more, and a transaction that is open is not committed."""
        self.dead = True
        self._connection.close()


def _raise_crash() -> None:
    raise Crash


def _waits_for_room(item: Any) -> bool:
    return item.waits and type(item.error).__name__ == "StorageFull"


class Life:
    """One life of a process over a database.

    Args:
        path: The database, migrated.
        registry: The agents.
        settings: As for `open_service`.
        entropy: All of its chance.
        at: Called at each crash point; raises `Crash` to end this life there.
        now: The loop's time in the beginning.
        connect: Wraps each connection of the writer.
    """

    def __init__(
        self,
        path: Path,
        registry: AgentRegistry,
        settings: RuntimeSettings,
        *,
        entropy: random.Random,
        at: Callable[[str], None] = lambda _: None,
        now: float = 0.0,
        connect: Callable[[Callable[[], Connection]], Callable[[], Any]] | None = None,
    ) -> None:
        self.loop = VirtualLoop(now=now)
        self.clock = VirtualClock(entropy)
        self.fatal: list[StorageError] = []
        self.over = False
        self._entropy = entropy
        self._parts = (path, registry, settings)
        self._at = at
        self._connect = connect
        self.database: InlineDatabase
        self.writer: InlineWriter | None = None
        self.service: TaskService

    def open(self) -> None:
        """Recover and begin to run tasks.

        Raises:
            Crash: It died on the way; `bury` it.
        """
        path, registry, settings = self._parts
        self.database = InlineDatabase(path)
        self.database.delay = self._latency
        if self._connect is not None:
            self.database.connect = self._connect(self.database.connect)  # type: ignore[method-assign]

        async def begin() -> None:
            self.writer = InlineWriter(
                self.database, node=NODE, at=self._at, on_fatal=self.fatal.append
            )
            self.writer.delay = self._latency
            self.service = assembly._assemble(
                settings, registry, self.database, self.writer, self.clock, str
            )
            await self.service.start()

        self.run(begin())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let virtual time pass until it is done; everything else goes on meanwhile.

        Raises:
            Crash: The process died meanwhile; `bury` it.
            Stalled: Nothing can happen any more.
            TimeoutError: It took more than a day.
        """
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, MOST_SECONDS))

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.run(asyncio.sleep(seconds))

    async def all_ended(self, *, every: float) -> None:
        """Wait until every task has ended and nothing runs behind any of them.

        Args:
            every: How often to look, in seconds.
        """
        service, worker = self.service, self.service.worker
        while (  # noqa: ASYNC110 - what is waited for is virtual time
            await service.counts()
            or worker.running
            or worker.stragglers
            or service.house.removal.busy
        ):
            await asyncio.sleep(every)

    def close(self, seconds: float = 0.0) -> None:
        """Drain and end it in good order."""
        assert self.writer is not None
        self.run(self.service.drain(seconds))
        self.run(self.writer.close())
        self.bury()

    async def end(self) -> None:
        """The process ends this moment."""
        self.loop.call_soon(_raise_crash)
        await self.loop.create_future()

    def bury(self) -> None:
        """It is gone, as after a kill: no more callback runs, no clean-up writes anything."""
        if self.over:
            return
        self.over = True
        if self.writer is not None:
            self.writer.die()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            if coroutine is not None:
                with contextlib.suppress(Exception):
                    coroutine.close()
        self.database.close()
        self.loop.close()

    def log(self, task_id: str) -> list[StoredEvent]:
        """The stored log of a task, as it is this moment; empty when there is no such task."""
        query = (
            "SELECT e.seq, e.type, e.data FROM event e JOIN task t ON t.id = e.task"
            " WHERE t.task_id = ? AND t.deleted IS NULL ORDER BY e.seq"
        )
        return list(map(StoredEvent._make, self.database.look(query, task_id)))

    def tasks(self, **wanted: Any) -> list[Task]:
        """The rows of all tasks, as they are this moment."""
        read = partial(listing.page, wanted=TaskFilter(**wanted), before=None, limit=1000)
        return [task for task, _ in self.database._read(read)]

    def status(self, task_id: str) -> str:
        """The status of a task this moment; empty when there is none."""
        query = "SELECT status FROM task WHERE task_id = ? AND deleted IS NULL"
        return "".join(status for (status,) in self.database.look(query, task_id))

    def _latency(self) -> float:
        return self._entropy.uniform(0, LATENCY_SECONDS)


def empty_database(folder: Path) -> Path:
    """A migrated database, to copy."""
    path = folder / "empty.db"
    database = Database(path)
    migrate(database)
    database.close()
    return path


def copied(empty: Path, folder: Path) -> Path:
    """A database of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tasks.db"
    shutil.copy(empty, path)
    return path


def as_frames(log: list[StoredEvent]) -> list[bytes]:
    """A log as a reader sees it."""
    return [f"id: {e.seq}\nevent: {e.type}\ndata: {e.data}\n\n".encode() for e in log]
