"""The worker: claims queued tasks, runs them, and ends them.

A run belongs to the worker and to nobody else. Readers, requests and connections come and go
without it noticing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from orchestrator.activity import ActivityLog
from orchestrator.deadlines import Deadlines
from orchestrator.errors import AppendRefused, StorageError, StorageFull
from orchestrator.milestones import terminal_event
from orchestrator.options import RunOptions
from orchestrator.outcomes import RunResult
from orchestrator.runs import Progress, TaskRun, task_info
from orchestrator.runtime.channels import Channels
from orchestrator.runtime.dispatch import Delivery, Dispatcher
from orchestrator.runtime.history import load_progress
from orchestrator.runtime.narrator import Narrator
from orchestrator.runtime.recorder import LogRecorder
from orchestrator.runtime.run import Run, Telling
from orchestrator.settings import RuntimeSettings
from orchestrator.store import tasks
from orchestrator.store.database import Database
from orchestrator.store.events import RunKey
from orchestrator.store.tasks import Claimed, Ended
from orchestrator.store.writer import Writer
from orchestrator.tasks import END_STATES, OWNED_STATES, TaskRequest, TaskStatus

logger = logging.getLogger(__name__)
log = ActivityLog(__name__).line


class Worker:
    """Runs up to `MAX_CONCURRENT_TASKS` tasks at once.

    Args:
        database: For reading what earlier runs have left.
        writer: For every move of a task.
        channels: Where committed events are shown.
        dispatcher: What is next.
        options: The agents and how to treat them.
        narrator: Told of every run.
        settings: Limits.
        node: Name of this process in the task table.
    """

    on_waiting: Callable[[Delivery], None] = staticmethod(lambda delivery: None)
    """Called with a task that was queued while nothing is claimed."""
    on_failure: Callable[[BaseException], None]
    """Called when claiming fails; pauses the worker, which is started again later."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        channels: Channels,
        dispatcher: Dispatcher,
        options: RunOptions,
        narrator: Narrator,
        *,
        settings: RuntimeSettings,
        node: str,
    ) -> None:
        self._database = database
        self._writer = writer
        self._channels = channels
        self._dispatcher = dispatcher
        self._options = options
        self._narrator = narrator
        self._settings = settings
        self._node = node
        self._clock = options.clock
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self.slots = settings.max_concurrent_tasks
        """How many tasks run at once."""
        self._taken = 0
        self._running: dict[int, Run] = {}
        self._accepting = False
        self.handing_back = False
        """Whether what runs is stopped and goes back to the queue."""
        self._emptied = asyncio.Event()
        self.stragglers: set[asyncio.Task[Any]] = set()
        """Agents that run on after their attempt was closed."""

    @property
    def running(self) -> int:
        """How many tasks run."""
        return len(self._running)

    @property
    def has_room(self) -> bool:
        """Whether it would claim one more task now."""
        return self.accepting and self._taken < self.slots

    @property
    def queued(self) -> int:
        """How many tasks wait for a slot."""
        return len(self._dispatcher)

    @property
    def runs(self) -> Collection[Run]:
        """The runs under way."""
        return self._running.values()

    def find(self, id: int) -> Run | None:
        """The run of a task, if it is under way here."""
        return self._running.get(id)

    @property
    def accepting(self) -> bool:
        """Whether it claims tasks."""
        return self._accepting and len(self.stragglers) <= self._settings.max_stragglers

    def start(self) -> None:
        """Begin to claim."""
        self._accepting = True
        self.handing_back = False
        self._fill()

    def pause(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._accepting = False

    def hand_back(self) -> None:
        """Stop what runs, also what is being claimed or loaded just now; it is queued again."""
        self.handing_back = True
        for run in self._running.values():
            if run.task_run is not None:
                run.task_run.stop("hand_back")

    def offer(self, delivery: Delivery) -> None:
        """A task was queued."""
        self._dispatcher.offer(delivery)
        if self._accepting:
            self._fill()
        else:
            self.on_waiting(delivery)

    def withdraw(self, id: int) -> None:
        """A task waits no more: it ended or was paused, and takes no place in the queue."""
        self._dispatcher.discard(id)

    def refill(self, deliveries: Iterable[Delivery]) -> None:
        """Replace what waits by what the task table says."""
        self._dispatcher.clear()
        for delivery in deliveries:
            self._dispatcher.offer(delivery)

    def reserve(self, owner: str) -> bool:
        """Take a slot for a task that is about to be submitted, if nobody waits for one.

        Every reserved slot ends in `run` or `release`.
        """
        if not self.accepting or self._taken >= self.slots or len(self._dispatcher):
            return False
        if not self._dispatcher.may_start(owner):
            return False
        self._take(owner)
        return True

    def release(self, owner: str) -> None:
        """Give a reserved slot back."""
        self._taken -= 1
        if not self._taken:
            self._emptied.set()
        self._dispatcher.ended(owner)
        if len(self._dispatcher):
            self._fill()

    def run(
        self, claimed: Claimed, request: TaskRequest | None = None, begun: Sequence[str] = ()
    ) -> None:
        """Run a claimed task in its reserved slot.

        Args:
            claimed: The task.
            request: What was asked for, if the task was submitted just now.
            begun: Agents whose `agent_start` was stored with the claim.
        """
        key, owner, _, active_ms, log_bytes, last_seq = claimed
        run = Run(key, owner, self._recorder(key, active_ms, log_bytes, last_seq))
        self._running[key.id] = run
        run.asyncio_task = self._loop.create_task(self._run(run, claimed, request, begun))

    def tell(self, id: int, order: Telling) -> None:
        """Tell the run of a task what was decided about it; nothing if it does not run here."""
        if (run := self._running.get(id)) is not None:
            run.tell(order)

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, wait for what runs, then hand the rest back to the queue.

        Args:
            seconds: How long to wait before tasks are handed back.
        """
        self._accepting = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.idle()
        self._writer.stop_waiting()
        self.hand_back()
        await self.idle()

    async def idle(self) -> None:
        """Wait until no slot is taken."""
        while self._taken:
            self._emptied.clear()
            await self._emptied.wait()

    def _take(self, owner: str) -> None:
        self._taken += 1
        self._dispatcher.started(owner)

    def _fill(self) -> None:
        """Claim as many queued tasks as there are free slots."""
        try:
            self._claim_waiting()
        except Exception as error:  # the loop must not end with what it tripped over
            self.on_failure(error)

    def _claim_waiting(self) -> None:
        while self.accepting and self._taken < self.slots:
            delivery = self._dispatcher.next()
            if delivery is None:
                return
            self._take(delivery.owner)
            claim = partial(
                tasks.claim,
                id=delivery.id,
                round=delivery.round,
                node=self._node,
                now=self._clock.wall_ms(),
            )
            # By callbacks, which come in the order of commits: a cancel of the task in the same
            # batch must find its run.
            self._writer.post(
                claim,
                partial(self._claimed, delivery.owner),
                partial(self._not_claimed, delivery),
                waits=True,
            )

    def _claimed(self, owner: str, claimed: Claimed | None) -> None:
        if claimed is None:
            self.release(owner)
        else:
            self.run(claimed)

    def _not_claimed(self, delivery: Delivery, error: BaseException) -> None:
        self._dispatcher.offer(delivery)  # it is claimed again once the loop runs again
        self.on_failure(error)
        self.release(delivery.owner)

    async def _run(
        self, run: Run, claimed: Claimed, request: TaskRequest | None, begun: Sequence[str]
    ) -> None:
        task_id = run.key.task_id
        log("task started", {"task_id": task_id, "epoch": run.key.epoch})
        try:
            status = await self._drive(run, claimed, request, begun)
            log("task ended", {"task_id": task_id, "status": status})
            self._narrator.run_ended(task_id, status)
        except AppendRefused as error:
            logger.warning("run lost: %s", error, extra={"task_id": task_id})
            self._narrator.run_ended(task_id, "", why=str(error))
        except StorageError as error:
            words = "run lost, the next start recovers it: %s"
            logger.error(words, error, extra={"task_id": task_id})
            self._narrator.run_ended(task_id, "", why=str(error))
        finally:
            self._leave(run)

    async def _drive(
        self, run: Run, claimed: Claimed, request: TaskRequest | None, begun: Sequence[str]
    ) -> str:
        try:
            refused = None
            if request is not None:  # just submitted: nothing ran yet, and its agents are known
                progress = Progress(begun)
            else:
                request = TaskRequest.model_validate_json(claimed.request)
                progress = await self._database.read(partial(load_progress, id=run.key.id))
                progress.active_seconds = claimed.active_ms / 1000
                refused = self._missing_agent(request, progress)
            task_run = self._begin(run, request, progress)
            result = refused or await task_run.drive()
            while result.status not in END_STATES:
                status = await self._let_go(run, result)
                if status not in OWNED_STATES:
                    return status
                result = await task_run.drive()  # the pause was taken back, or a cancel came
            return (await self._end(run.recorder, result)).own.status
        except (AppendRefused, StorageFull):  # in the drain: what needs less room must not end it
            raise
        except Exception as error:  # our own fault; the task must end all the same
            logger.exception("run failed", extra={"task_id": run.key.task_id})
            words = f"The server failed to run this task ({type(error).__name__})."
            if run.task_run is not None:
                result = run.task_run.broken_result("internal", words)
            else:
                result = RunResult(
                    status=TaskStatus.FAILED, outputs={}, failed={}, code="internal", error=words
                )
            # With another recorder: this one may have failed, and takes nothing more.
            recorder = self._recorder(run.key, run.recorder.active_ms, 0, 0)
            recorder.unaccounted = run.recorder.unaccounted
            return (await self._end(recorder, result)).own.status

    def _recorder(self, key: RunKey, active_ms: int, log_bytes: int, last_seq: int) -> LogRecorder:
        settings = self._settings
        return LogRecorder(
            self._writer, key, self._channels.publish, self._clock, active_ms, log_bytes, last_seq,
            settings.max_task_log_bytes, settings.max_event_bytes,
        )  # fmt: skip

    def _begin(self, run: Run, request: TaskRequest, progress: Progress) -> TaskRun:
        task = task_info(run.key.task_id, request)
        self._narrator.run_began(task, run.owner, request, waiting=len(self._dispatcher))
        task_run = run.begin(
            TaskRun(self._options, task, request, run.recorder, self._deadlines, progress)
        )
        if self.handing_back:
            task_run.stop("hand_back")
        return task_run

    def _missing_agent(self, request: TaskRequest, progress: Progress) -> RunResult | None:
        """The end of a task whose agents are not all here any more."""
        missing = [r for r in request.selected_agents if r not in self._options.registry]
        if not missing:
            return None
        return RunResult(
            status=TaskStatus.FAILED, outputs=progress.outputs, failed={}, code="agent_failed",
            error=f"This server has no agent {missing[0]!r} any more.",
        )  # fmt: skip

    def _end(self, recorder: LogRecorder, result: RunResult) -> Awaitable[Ended]:
        return recorder.finish(
            terminal_event(result, recorder.active_ms, self._clock.wall_ms()),
            completed=len(result.outputs),
            failed=len(result.failed),
            publish=self.publish_end,
        )

    async def _let_go(self, run: Run, result: RunResult) -> str:
        """Leave the task paused or in the queue.

        Returns:
            Its status: one in which this run holds it still, when there is more to do.
        """
        await run.recorder.flush()
        let_go = partial(
            tasks.let_go, run=run.key, handing_back=result.status == TaskStatus.QUEUED,
            account=run.recorder.account(), now=self._clock.wall_ms(),
        )  # fmt: skip
        try:
            appended = await self._writer.submit(let_go, self._channels.publish, waits=True)
        except AppendRefused as refused:
            if refused.status not in OWNED_STATES:
                raise
            return str(refused.status)
        return appended.status

    def publish_end(self, ended: Ended) -> None:
        """Show the end of a task, and what it meant for tasks that waited for it."""
        self._dispatcher.discard(ended.own.id)
        self._channels.publish(ended.own)
        for appended in ended.broken:
            self._channels.publish(appended)
        for id, task_id, owner, priority, round in ended.released:
            self.offer(Delivery(id, task_id, owner, priority, round))

    def _leave(self, run: Run) -> None:
        if self._running.get(run.key.id) is run:  # a retry may have been faster
            del self._running[run.key.id]
        for role, straggler in run.task_run.stragglers if run.task_run else ():
            logger.warning("agent did not stop", extra={"task_id": run.key.task_id, "agent": role})
            self.stragglers.add(straggler)
            straggler.add_done_callback(self._straggler_ended)
        self.release(run.owner)

    def _straggler_ended(self, straggler: asyncio.Task[Any]) -> None:
        self.stragglers.discard(straggler)
        if not straggler.cancelled():
            straggler.exception()  # nobody is interested any more
        self._fill()
