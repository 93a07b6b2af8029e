"""The task service: everything a caller can do with tasks.

It knows owners, not tokens, and cursors, not connections. `open_service` puts a whole runtime
together: database, writer, channels, worker.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.activity import ActivityLog
from orchestrator.agents import AgentRegistry
from orchestrator.errors import (
    CursorBeyondEnd,
    Draining,
    FieldError,
    IdempotencyMismatch,
    InvalidRequest,
    Overloaded,
    TaskNotFound,
    UnknownIdempotencyKey,
)  # fmt: skip
from orchestrator.events import to_json
from orchestrator.runs import RunOptions, created_event, first_starts
from orchestrator.runtime.channels import Channels, Reader
from orchestrator.runtime.controls import Controls
from orchestrator.runtime.dispatch import Delivery
from orchestrator.runtime.exports.source import ExportSource
from orchestrator.runtime.housekeeping import Housekeeping
from orchestrator.runtime.recovery import recover
from orchestrator.runtime.runner import Runner
from orchestrator.runtime.sharing import Sharing
from orchestrator.runtime.snapshots import listed, read_only, snapshot
from orchestrator.runtime.vitals import Vitals, read_vitals
from orchestrator.runtime.watchdog import Watchdog
from orchestrator.runtime.worker import Worker
from orchestrator.settings import RuntimeSettings
from orchestrator.store import artifacts, events, listing, signing_keys, submissions
from orchestrator.store.database import Database, Session
from orchestrator.store.events import RunKey, StoredEvent
from orchestrator.store.listing import TaskFilter
from orchestrator.store.submissions import NewTask, Submitted
from orchestrator.store.tables import Artifact, Task
from orchestrator.store.tasks import Claimed
from orchestrator.store.writer import Writer
from orchestrator.tasks import END_STATES, TaskRequest, TaskStatus, request_hash

log = ActivityLog(__name__)

_RUNNING = frozenset({TaskStatus.RUNNING})
NODE = "local"  # the one process of a SQLite file


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A task that is stored."""

    task_id: str
    status: str
    replayed: bool
    """Whether an earlier request with the same key has stored it."""
    reader: Reader | None
    """A cursor before the first event, if one was asked for."""


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
        self._entering = 0  # tasks that are being stored and will wait for a slot
        self._controls = Controls(writer, channels, worker, clock=self._clock, settings=settings)
        self.sharing = Sharing(database, writer)
        """Who may read whose tasks."""
        self.watchdog: Watchdog | None = None
        """Who notices that the loop stands, once somebody does."""
        self.draining = False
        """Whether no new tasks are taken."""

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

    async def submit(
        self,
        request: TaskRequest,
        *,
        owner: str,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
        attach: bool = False,
        after: int | None = None,
        admit: Callable[[], None] = lambda: None,
    ) -> Submission:
        """Store a task and let it run.

        A repeat of an accepted request is a read: it is answered before any limit is looked at.

        Args:
            request: What to do.
            owner: Whose task it is.
            idempotency_key: The same key names the same task, whatever happens in between.
            body_hash: SHA-256 of the body as sent; a repeat must have the same. None for that of
                the request.
            attach: Whether to return a reader.
            after: Number of the last event the caller has, if this is a repeat.
            admit: Called before anything new is stored; raises to refuse it.

        Raises:
            UnknownIdempotencyKey: There is a cursor, but no task to read.
            CursorBeyondEnd: The task's log is shorter than that.
            IdempotencyMismatch: The key was used with another body.
            InvalidRequest: An agent, provider or task it names cannot be used.
            LimitExceeded: The owner has too many unfinished tasks.
            Overloaded: Too many tasks of all owners wait for a slot.
            Draining: The process takes no new tasks.
            StorageFull: No room; nothing was stored.
        """
        if idempotency_key is not None:
            body_hash = body_hash or request_hash(request)
            found = await self._find_key(owner, idempotency_key, body_hash)
            if found is not None:
                return await self._replayed(
                    found.task_id, found.status, owner=owner, attach=attach, after=after
                )
        if after is not None:
            raise UnknownIdempotencyKey
        if self.draining:
            raise Draining
        self._check(request)
        admit()
        new = self._new_task(request, owner, idempotency_key, body_hash)
        reserved = new.node is not None
        self._enter_queue(not reserved)
        reader: Reader | None = None
        gone = False

        def committed(submitted: Submitted) -> None:
            nonlocal reader
            self._entering -= not reserved
            if attach and not submitted.replayed and not gone:
                reader = self._open(submitted)
            if not stored.done():  # first, so that the first event is sent before the run begins
                stored.set_result(submitted)
            self._start(submitted, request, new, reserved=reserved)

        def failed(error: BaseException) -> None:
            self._entering -= not reserved
            if reserved:
                self._worker.release(owner)
            if not stored.done():
                stored.set_exception(error)

        stored: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        submit = partial(submissions.submit, new=new)
        self._writer.post(submit, committed, failed, rows=4, size=len(new.request))
        try:
            submitted = await stored
        except asyncio.CancelledError:  # the caller went; the task is stored all the same and runs
            gone = True
            if reader is not None:
                reader.close()
            raise
        if submitted.replayed:  # somebody else's submit came in between
            return await self._replayed(
                submitted.task_id, submitted.status, owner=owner, attach=attach, after=after
            )
        log("task accepted", {"task_id": submitted.task_id, "agents": request.selected_agents})
        return Submission(
            task_id=submitted.task_id,
            status=submitted.status,
            replayed=False,
            reader=reader,
        )

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
        try:
            # Read the end again now that the channel hears of every commit: what was committed
            # between the two is known to one of them.
            end = await self._database.read(partial(listing.end_of_log, id=task.id))
            if end is None:
                raise TaskNotFound(task_id)
            reader.known(last_seq=end[0], ended=end[1])
        except BaseException:
            reader.close()
            raise
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
        self.draining = True
        self.house.close()
        await self._worker.drain(seconds)
        self._controls.close()
        self.house.removal.close()

    # -- submitting --------------------------------------------------------------------------

    def _check(self, request: TaskRequest) -> None:
        self.registry.check(request.selected_agents)
        if request.provider is not None:
            raise InvalidRequest(
                FieldError("/provider", f"there is no provider {request.provider!r}")
            )

    def _new_task(
        self, request: TaskRequest, owner: str, key: str | None, body_hash: str | None
    ) -> NewTask:
        now = self._clock.wall_ms()
        created = created_event(self.registry, request, now)
        if (seconds := self.house.estimates.of(request)) is not None:
            created.fields["estimatedSeconds"] = seconds
        text, team = request.to_json(), self.registry.team(request.selected_agents)
        claimed = self._worker.reserve(owner)  # last: what raises must not leave with a slot
        return NewTask(
            task_id=self._clock.task_id(),
            owner=owner,
            title=request.shown_title,
            description=request.description,
            request=text,
            agents=team.json,
            labels=to_json(request.metadata) if request.metadata else "{}",
            job_type=request.job_type or "manual",
            trigger_source=request.trigger_source,
            priority=request.priority or 0,
            after=request.after or (),
            idempotency_key=key,
            body_hash=body_hash,
            max_unfinished=self._settings.max_tasks_per_owner,
            node=NODE if claimed else None,
            created=created,
            starts=first_starts(self.registry, request, now) if claimed else (),
            now=now,
        )

    def _enter_queue(self, enters: bool) -> None:
        """Count a task that is on its way into the queue, or refuse it."""
        most = self._settings.max_queued_tasks
        if enters and self._worker.queued + self._entering >= most:
            raise Overloaded("queued tasks", most)
        self._entering += enters

    def _open(self, submitted: Submitted) -> Reader:
        reader = self._channels.open(submitted.id, after=0, page=submitted.events)
        reader.known(last_seq=submitted.events[-1].seq, ended=submitted.status in END_STATES)
        return reader

    def _start(
        self, submitted: Submitted, request: TaskRequest, new: NewTask, *, reserved: bool
    ) -> None:
        """What follows the commit of a submit; runs on the loop right after it."""
        if submitted.epoch and not submitted.replayed:
            key = RunKey(submitted.id, submitted.task_id, submitted.epoch)
            begun = [start.fields["agentRole"] for start in new.starts]
            self._worker.run(Claimed(key, new.owner, "", 0, 0), request, begun)
            return
        if reserved:
            self._worker.release(new.owner)
        queued = submitted.status == TaskStatus.QUEUED and not submitted.replayed
        if queued and not submitted.waits_for_others:
            self._worker.offer(
                Delivery(submitted.id, submitted.task_id, new.owner, new.priority, 1)
            )

    async def _find_key(self, owner: str, key: str, body_hash: str) -> Task | None:
        task = await self._database.read(partial(listing.find_key, owner=owner, key=key))
        if task is not None and task.body_hash != body_hash:
            raise IdempotencyMismatch
        return task

    async def _replayed(
        self, task_id: str, status: str, *, owner: str, attach: bool, after: int | None
    ) -> Submission:
        reader = await self.attach(task_id, owner=owner, after=after or 0) if attach else None
        return Submission(task_id=task_id, status=status, replayed=True, reader=reader)

    # -- the rest ----------------------------------------------------------------------------

    async def _pieces(self, artifact: int) -> AsyncIterator[bytes]:
        after = -1
        while pieces := await self._database.read(
            partial(artifacts.pieces, artifact=artifact, after=after)
        ):
            for piece in pieces:
                yield piece
            after += len(pieces)
