"""Submitting: a task is stored, started or queued, or found because its key stored it before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, Protocol

from orchestrator.activity import ActivityLog
from orchestrator.agents import Team
from orchestrator.errors import (
    Draining,
    FieldError,
    IdempotencyMismatch,
    InvalidRequest,
    Overloaded,
    UnknownIdempotencyKey,
)  # fmt: skip
from orchestrator.milestones import created_event, first_starts
from orchestrator.options import RunOptions
from orchestrator.runtime.channels import Channels, Reader
from orchestrator.runtime.dispatch import Delivery
from orchestrator.runtime.estimates import Estimates
from orchestrator.runtime.worker import Worker
from orchestrator.settings import RuntimeSettings
from orchestrator.store import listing, submissions
from orchestrator.store.database import Database
from orchestrator.store.events import RunKey
from orchestrator.store.quotas import Quotas
from orchestrator.store.submissions import NewTask, Submitted
from orchestrator.store.tables import Task
from orchestrator.store.tasks import Claimed
from orchestrator.store.writer import Writer
from orchestrator.tasks import END_STATES, TaskRequest, TaskStatus, request_hash

log = ActivityLog(__name__).line


class Submission(NamedTuple):
    """A task that is stored."""

    task_id: str
    status: str
    replayed: bool
    """Whether an earlier request with the same key has stored it."""
    reader: Reader | None
    """A cursor before the first event, if one was asked for."""


class Attach(Protocol):
    """Opens a cursor over a task's log; see `TaskService.attach`."""

    def __call__(self, task_id: str, *, owner: str | None, after: int = 0) -> Awaitable[Reader]:
        """A cursor behind `after`."""


class Submitter:
    """Stores new tasks and hands them to the worker.

    Args:
        database: Where keys are looked up.
        writer: Where tasks are stored.
        channels: Where their readers wait.
        worker: Who runs them.
        estimates: How long they will take.
        options: The agents.
        settings: Limits.
        quotas: How many unfinished tasks each owner may have.
        attach: Opens a cursor for a repeat.
        node: Name of this process in the task table.
    """

    def __init__(
        self, database: Database, writer: Writer, channels: Channels, worker: Worker,
        estimates: Estimates, options: RunOptions, *, settings: RuntimeSettings, quotas: Quotas,
        attach: Attach, node: str,
    ) -> None:  # fmt: skip
        self._database = database
        self._writer = writer
        self._channels = channels
        self._worker = worker
        self._estimates = estimates
        self._options = options
        self._clock = options.clock
        self._settings = settings
        self._quotas = quotas
        self._attach = attach
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._entering = 0  # tasks that are being stored and will wait for a slot
        self.draining = False
        """Whether no new tasks are taken."""

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
        team = self._team(request)
        admit()
        new = self._new_task(request, team, owner, idempotency_key, body_hash)
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

        stored: asyncio.Future[Submitted] = self._loop.create_future()
        submit = partial(submissions.submit, new=new)
        self._writer.post(submit, committed, failed, rows=4, size=len(new.text))
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
        return Submission(submitted.task_id, submitted.status, False, reader)

    def _team(self, request: TaskRequest) -> Team:
        """The agents of a request, if it can be run here."""
        team = self._options.registry.team(request.selected_agents)
        if request.provider is not None:
            raise InvalidRequest(
                FieldError("/provider", f"there is no provider {request.provider!r}")
            )
        return team

    def _new_task(
        self, request: TaskRequest, team: Team, owner: str, key: str | None, body_hash: str | None
    ) -> NewTask:
        now = self._clock.wall_ms()
        created = created_event(team, request, now)
        if (seconds := self._estimates.of(request)) is not None:
            created.fields["estimatedSeconds"] = seconds
        text = request.to_json()
        claimed = self._worker.reserve(owner)  # last: what raises must not leave with a slot
        node = self._node if claimed else None
        starts = first_starts(self._options.registry, request, now) if claimed else ()
        return NewTask(  # by position: matching twelve names takes longer than all the rest of it
            self._clock.task_id(), owner, request, text, team.json, key, body_hash, self._quotas,
            node, created, starts, now,
        )  # fmt: skip

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
            self._worker.run(
                Claimed(key, new.owner, "", 0, 0, submitted.events[-1].seq), request, begun
            )
            return
        if reserved:
            self._worker.release(new.owner)
        queued = submitted.status == TaskStatus.QUEUED and not submitted.replayed
        if queued and not submitted.waits_for_others:
            self._worker.offer(
                Delivery(submitted.id, submitted.task_id, new.owner, request.priority or 0, 1)
            )

    async def _find_key(self, owner: str, key: str, body_hash: str) -> Task | None:
        task = await self._database.read(partial(listing.find_key, owner=owner, key=key))
        if task is not None and task.body_hash != body_hash:
            raise IdempotencyMismatch
        return task

    async def _replayed(
        self, task_id: str, status: str, *, owner: str, attach: bool, after: int | None
    ) -> Submission:
        reader = await self._attach(task_id, owner=owner, after=after or 0) if attach else None
        return Submission(task_id, status, True, reader)
