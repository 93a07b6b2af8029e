"""The task service: everything a caller can do with tasks.

It knows owners, not tokens, and cursors, not connections. `open_service` puts a whole runtime
together: database, writer, channels, worker.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.agents import AgentRegistry
from orchestrator.errors import (
    CursorBeyondEnd,
    TaskNotFound,
)  # fmt: skip
from orchestrator.options import RunOptions
from orchestrator.runtime.channels import Channels, Reader
from orchestrator.runtime.controls import Controls
from orchestrator.runtime.exports.source import ExportSource
from orchestrator.runtime.housekeeping import Housekeeping
from orchestrator.runtime.recovery import recover
from orchestrator.runtime.runner import Runner
from orchestrator.runtime.sharing import Sharing
from orchestrator.runtime.snapshots import listed, read_only, snapshot
from orchestrator.runtime.submitting import Submitter
from orchestrator.runtime.vitals import Vitals, read_vitals
from orchestrator.runtime.watchdog import Watchdog
from orchestrator.runtime.worker import Worker
from orchestrator.settings import RuntimeSettings
from orchestrator.store import artifacts, events, listing, signing_keys
from orchestrator.store.database import Database, Session
from orchestrator.store.events import StoredEvent
from orchestrator.store.listing import TaskFilter
from orchestrator.store.quotas import Quotas
from orchestrator.store.tables import Artifact, Task
from orchestrator.store.writer import Writer
from orchestrator.tasks import TaskStatus

_RUNNING = frozenset({TaskStatus.RUNNING})
NODE = "local"  # the one process of a SQLite file


class TaskService:
    """Submits, reads, follows and controls tasks. Made by `open_service`.

    Args:
        database: Where tasks are read.
        writer: Where they are written.
        channels: Where readers wait.
        worker: Who runs them.
        house: What goes on beside the runs.
        options: The agents and how to treat them.
        settings: Limits.
    """

    def __init__(
        self,
        database: Database,
        writer: Writer,
        channels: Channels,
        worker: Worker,
        house: Housekeeping,
        options: RunOptions,
        *,
        settings: RuntimeSettings,
    ) -> None:
        self._database = database
        self._writer = writer
        self._channels = channels
        self._worker = worker
        self.house = house
        """What goes on beside the runs: the loop's switch, retention, stuck tasks, estimates."""
        self._options = options
        self._settings = settings
        self._clock = options.clock
        quotas = Quotas(settings.max_tasks_per_owner)
        writer.on_rollback = quotas.forget
        self._controls = Controls(
            writer, channels, worker, quotas=quotas, clock=self._clock, settings=settings
        )
        self.sharing = Sharing(database, writer)
        """Who may read whose tasks."""
        self.watchdog: Watchdog | None = None
        """Who notices that the loop stands, once somebody does."""
        self._submitter = Submitter(
            database, writer, channels, worker, house.estimates, options,
            settings=settings, quotas=quotas, attach=self.attach, node=NODE,
        )  # fmt: skip
        self.submit = self._submitter.submit
        """Store a task and let it run. See `Submitter.submit`."""

    @property
    def draining(self) -> bool:
        """Whether no new tasks are taken."""
        return self._submitter.draining

    @property
    def registry(self) -> AgentRegistry:
        """The agents."""
        return self._options.registry

    @property
    def runner(self) -> Runner:
        """Who starts and stops the worker."""
        return self.house.runner

    @property
    def worker(self) -> Worker:
        """Who runs the tasks."""
        return self._worker

    @property
    def database(self) -> Database:
        """Where everything is."""
        return self._database

    async def attach(
        self, task_id: str, *, owner: str | None, shared: bool = False, after: int = 0
    ) -> Reader:
        """A cursor over a task's log.

        Args:
            task_id: Which task.
            owner: Whose it must be; None for anybody's.
            shared: Whether one that is shared with `owner` will do.
            after: Number of the last event the caller has; 0 for none.

        Raises:
            TaskNotFound: There is none, or it is somebody else's.
            CursorBeyondEnd: The log is shorter.
        """
        while True:
            changes = self.sharing.changes
            reader = await self._attach(task_id, owner=owner, shared=shared, after=after)
            if not shared or self.sharing.changes == changes:
                return reader
            reader.close()  # who may read was changed meanwhile

    async def _attach(self, task_id: str, *, owner: str | None, shared: bool, after: int) -> Reader:
        task = await self.find(task_id, owner=owner, shared=shared)
        if after > task.last_seq:
            raise CursorBeyondEnd(after, task.last_seq)
        reader = self._channels.open(task.id, after=after)
        with contextlib.ExitStack() as if_it_fails:
            if_it_fails.callback(reader.close)
            # Read the end again now that the channel hears of every commit: what was committed
            # between the two is known to one of them.
            end = await self._database.read(partial(listing.end_of_log, id=task.id))
            if end is None:
                raise TaskNotFound(task_id)
            reader.known(last_seq=end[0], ended=end[1])
            if_it_fails.pop_all()
        return reader

    async def find(self, task_id: str, *, owner: str | None, shared: bool = False) -> Task:
        """The row of a task.

        Raises:
            TaskNotFound: There is none, or it is somebody else's and not `shared`.
        """
        find = partial(listing.find, task_id=task_id, owner=owner, shared=shared)
        task = await self._database.read(find)
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def snapshot(
        self, task_id: str, *, owner: str | None, shared: bool = False
    ) -> dict[str, Any]:
        """The snapshot of a task, under the names of the wire.

        Raises:
            TaskNotFound: There is none, or it is somebody else's and not `shared`.
        """
        silent = self.house.stuck.silent

        def read(session: Session) -> dict[str, Any]:
            task = listing.find(session, task_id, owner, shared=shared)
            if task is None:
                raise TaskNotFound(task_id)
            found = snapshot(session, task, silent=silent)
            return found if owner in (None, task.owner) else read_only(found)

        return await self._database.read(read)

    async def list(
        self, wanted: TaskFilter, *, stuck: bool | None = None, before: int | None, limit: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Tasks, newest first, without texts.

        Args:
            wanted: Which.
            stuck: Only stuck ones.
            before: Cursor that the page before returned.
            limit: At most so many.

        Returns:
            The page, and the cursor of the next one if there is more.
        """
        if stuck:
            wanted = replace(wanted, statuses=_RUNNING, ids=self.house.stuck.silent)
        silent = self.house.stuck.silent

        def read(session: Session) -> tuple[list[dict[str, Any]], int | None]:
            rows = listing.page(session, wanted, before=before, limit=limit + 1)
            entries = [listed(session, task, runs, silent=silent) for task, runs in rows[:limit]]
            if wanted.shared_with is not None:
                entries = [read_only(entry) for entry in entries]
            return entries, rows[limit - 1][0].id if len(rows) > limit else None

        return await self._database.read(read)

    async def events(
        self, task_id: str, *, owner: str | None, shared: bool = False, after: int, limit: int
    ) -> tuple[Sequence[StoredEvent], Task]:
        """A page of a log, and the task.

        Raises:
            TaskNotFound: There is none, or it is somebody else's and not `shared`.
            CursorBeyondEnd: The log is shorter.
        """

        def read(session: Session) -> tuple[Sequence[StoredEvent], Task]:
            task = listing.find(session, task_id, owner, shared=shared)
            if task is None:
                raise TaskNotFound(task_id)
            if after > task.last_seq:
                raise CursorBeyondEnd(after, task.last_seq)
            return events.page(session, task.id, after=after, limit=limit), task

        # Together: the log may grow, or be deleted from its beginning on, between two reads.
        return await self._database.read(read)

    async def artifacts(
        self, task_id: str, *, owner: str | None, shared: bool = False
    ) -> Sequence[Artifact]:
        """All artifacts of a task.

        Raises:
            TaskNotFound: There is none, or it is somebody else's and not `shared`.
        """
        task = await self.find(task_id, owner=owner, shared=shared)
        return await self._database.read(partial(artifacts.of_task, id=task.id))

    async def artifact(
        self, task_id: str, role: str, name: str, *, owner: str | None, shared: bool = False
    ) -> tuple[Artifact, AsyncIterator[bytes]]:
        """An artifact and its content, piece by piece.

        Raises:
            TaskNotFound: There is no such task or artifact, or it is somebody else's and not
                `shared`.
        """
        task = await self.find(task_id, owner=owner, shared=shared)
        found = await self._database.read(partial(artifacts.find, id=task.id, role=role, name=name))
        if found is None:
            raise TaskNotFound(task_id)
        return found, self._pieces(found.id)

    async def export(
        self, task_id: str, *, owner: str | None, shared: bool = False
    ) -> ExportSource:
        """A task as it stands now, to be written as one of `orchestrator.runtime.exports`.

        Raises:
            TaskNotFound: There is none, or it is somebody else's and not `shared`.
        """
        return await ExportSource.open(
            self._database, task_id, owner=owner, shared=shared, now_ms=self._clock.wall_ms()
        )

    async def cancel(
        self, task_id: str, *, owner: str | None, requested_by: str,
        last_event_id: int | None = None,
    ) -> str:  # fmt: skip
        """Stop the agents and end the task. See `Controls.control`."""
        return await self._controls.control(
            "cancel", task_id, owner=owner, requested_by=requested_by,
            last_event_id=last_event_id,
        )  # fmt: skip

    async def pause(
        self, task_id: str, *, owner: str | None, requested_by: str,
        last_event_id: int | None = None, stop_now: bool = False,
    ) -> str:  # fmt: skip
        """Start no more agents; `stop_now` also stops those that run. See `Controls.control`."""
        return await self._controls.control(
            "pause_now" if stop_now else "pause", task_id, owner=owner, requested_by=requested_by,
            last_event_id=last_event_id,
        )  # fmt: skip

    async def resume(
        self, task_id: str, *, owner: str | None, requested_by: str,
        last_event_id: int | None = None,
    ) -> str:  # fmt: skip
        """Let a paused task go on. See `Controls.control`."""
        return await self._controls.control(
            "resume", task_id, owner=owner, requested_by=requested_by,
            last_event_id=last_event_id,
        )  # fmt: skip

    async def retry(
        self, task_id: str, *, owner: str | None, requested_by: str,
        last_event_id: int | None = None,
    ) -> str:  # fmt: skip
        """Run what did not complete once more, in the same task and log. See `Controls.control`."""
        return await self._controls.control(
            "retry", task_id, owner=owner, requested_by=requested_by,
            last_event_id=last_event_id,
        )  # fmt: skip

    async def delete(
        self, task_id: str, *, owner: str | None, last_event_id: int | None = None
    ) -> None:
        """Delete a finished task: gone for everybody at once, its rows follow in the background.

        Raises:
            TaskNotFound: There is none, or it is somebody else's.
            TaskConflict: It has not ended, or gone on since `last_event_id`.
        """
        await self.house.removal.delete(task_id, owner=owner, last_event_id=last_event_id)

    async def signing_key(self, name: str, *, make: bool) -> bytes | None:
        """A key of this installation; None when there is none and none shall be made.

        Args:
            name: What it signs; at most 64 characters.
            make: Whether to make it: to sign, but not to check what somebody brought.
        """
        found = await self._database.read(partial(signing_keys.find, name=name))
        if found is not None or not make:
            return found
        obtain = partial(signing_keys.obtain, name=name, fresh=secrets.token_bytes(32))
        return await self._writer.submit(obtain)

    async def vitals(self) -> Vitals:
        """How this runtime is at the moment."""
        return await read_vitals(
            self._database, self._writer, self._channels, self._worker, self.watchdog
        )

    async def counts(self) -> dict[str, int]:
        """How many unfinished tasks there are, by status."""
        return await self._database.read(listing.count_unfinished)

    async def start(self) -> None:
        """Recover what a dead process left, and begin to run tasks."""
        await self.house.load(self._database)
        tell = self.house.narrator.recovered
        waiting = await recover(self._writer, self._settings, self._clock, tell=tell)
        await self.house.start()
        await self.house.runner.open(waiting)

    async def drain(self, seconds: float) -> None:
        """Take no new tasks, let running ones end, hand the rest back to the queue."""
        self._submitter.draining = True
        self.house.close()
        await self._worker.drain(seconds)
        self._controls.close()
        self.house.removal.close()

    async def _pieces(self, artifact: int) -> AsyncIterator[bytes]:
        after = -1
        while pieces := await self._database.read(
            partial(artifacts.pieces, artifact=artifact, after=after)
        ):
            for piece in pieces:
                yield piece
            after += len(pieces)
