"""The runner: the worker loop as people see it, who start it, stop it and ask how it is.

A stop is stored, so it survives a restart; meanwhile tasks are accepted and wait, and their logs
say so. A loop that fails says so and starts again, later each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

from orchestrator.clock import Clock
from orchestrator.errors import AlreadyRunning, Draining, PoststreamError
from orchestrator.runtime.channels import Channels
from orchestrator.runtime.dispatch import Delivery
from orchestrator.runtime.narrator import Narrator
from orchestrator.runtime.runner_log import RunnerLog
from orchestrator.runtime.worker import Worker
from orchestrator.store import recovery, runner
from orchestrator.store.database import Database
from orchestrator.store.events import Appended
from orchestrator.store.recovery import Waiting
from orchestrator.store.writer import Writer

logger = logging.getLogger(__name__)

BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
"""How long a loop that failed rests, each time in a row; the last one repeats."""
CALM_SECONDS = 60.0  # without a failure for so long, the next one is a first one

State = Literal["running", "draining", "stopped"]


class RunnerStatus(NamedTuple):
    """How the worker loop is."""

    state: State
    running: int
    """Tasks that run."""
    slots: int
    since_ms: int
    """Since when it is in this state."""
    last_error: str
    """Why it failed the last time; empty when it never did since it was started."""


class Runner:
    """Starts and stops the worker.

    Args:
        worker: Who runs tasks.
        database: Where a stop is read.
        writer: Where it is stored.
        channels: Where waiting tasks are told.
        log: What happened, for people.
        narrator: Who writes it.
        clock: For times.
        node: Name of this process.
        autostart: Whether the loop starts with the process.
    """

    def __init__(
        self, worker: Worker, database: Database, writer: Writer, channels: Channels,
        log: RunnerLog, narrator: Narrator, *, clock: Clock, node: str, autostart: bool,
    ) -> None:  # fmt: skip
        self.log = log
        self._worker = worker
        self._database = database
        self._writer = writer
        self._channels = channels
        self._narrator = narrator
        self._clock = clock
        self._node = node
        self._autostart = autostart
        self._state: State = "stopped"
        self._since_ms = clock.wall_ms()
        self._last_error = ""
        self._failures = 0
        self._failed_at = 0.0
        self._again: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._closed = False
        self._switching = asyncio.Lock()
        worker.on_waiting = self._tell_one
        worker.on_failure = self._fail

    @property
    def status(self) -> RunnerStatus:
        """How it is now."""
        worker = self._worker
        return RunnerStatus(
            "draining" if self._closed and self._state == "running" else self._state,
            worker.running, worker.slots, self._since_ms, self._last_error,
        )  # fmt: skip

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped it, so that nothing is claimed."""
        return self._state != "running"

    async def open(self, waiting: Sequence[Waiting]) -> None:
        """Begin, unless it was stopped before.

        Args:
            waiting: The queued tasks that may start, oldest first.
        """
        since = await self._database.read(partial(runner.stopped_since, node=self._node))
        if self._autostart and since is None:
            self._begin(waiting, by=None)
            return
        self._since_ms = since or self._since_ms
        words = "it was stopped before" if since else "POSTSTREAM_RUNNER_AUTOSTART is false"
        self._narrator.say("warning", "Worker loop is stopped: %s.", words)
        await self._tell_all()

    async def start(self, *, by: str) -> None:
        """Start the loop; takes back a stop that is under way.

        Args:
            by: Who asks.

        Raises:
            AlreadyRunning: It runs.
            Draining: The process ends; a stop that was asked for holds for the next one.
            StorageError: It could not be stored; the loop is as it was.
        """
        async with self._switching:
            if self._state == "running":
                raise AlreadyRunning
            if self._closed:
                raise Draining
            await self._writer.submit(partial(runner.set_stopped, node=self._node, since=None))
            if (stopping := self._stopping) is not None:
                if self._worker.handing_back:  # what is handed back must be found in the queue
                    await asyncio.wait([stopping])
                stopping.cancel()
            self._last_error, self._failures = "", 0
            # In the callback: what is queued by a later commit is offered after it, none is lost.
            await self._writer.submit(recovery.find_queued, partial(self._begin, by=by))
        logger.info("worker loop started", extra={"by": by})

    async def stop(self, *, by: str, now: bool) -> None:
        """Stop the loop: nothing more is claimed. Harmless when it is stopped.

        Args:
            by: Who asks.
            now: Hand running tasks back to the queue instead of waiting for their end.

        Raises:
            StorageError: It could not be stored; the loop goes on.
        """
        async with self._switching:
            if self._state == "stopped":
                return
            since = self._clock.wall_ms()
            await self._writer.submit(partial(runner.set_stopped, node=self._node, since=since))
            if self._again is not None:
                self._again.cancel()
                self._again = None
            self._narrator.stop_asked(by=by, now=now)
            logger.info("worker loop stops", extra={"by": by, "now": now})
            self._worker.pause()
            if now:
                self._worker.hand_back()
            if self._state == "running":
                self._turn("draining")
                await self._tell_all()
                self._stopping = asyncio.create_task(self._stop())

    def close(self) -> None:
        """The process ends: the loop neither starts nor is stopped by it any more."""
        self._closed = True
        for waiting in (self._again, self._stopping):
            if waiting is not None:
                waiting.cancel()
        self._narrator.close()

    def _begin(self, waiting: Sequence[Waiting], *, by: str | None) -> None:
        self._turn("running")
        self._worker.refill([Delivery(*task) for task in waiting])
        self._narrator.loop_started(slots=self._worker.slots, waiting=len(waiting), by=by)
        if not self._closed:  # the drain may begin between a start and its commit
            self._worker.start()

    async def _stop(self) -> None:
        await self._worker.idle()
        self._turn("stopped")
        self._narrator.loop_stopped(waiting=await self._tell_all())
        self._stopping = None

    def _turn(self, state: State) -> None:
        self._state, self._since_ms = state, self._clock.wall_ms()

    # -- telling the tasks that wait ---------------------------------------------------------

    async def _tell_all(self) -> int:
        """Tell every queued task; returns how many there are."""
        after: int | None = 0
        waiting = 0
        try:
            while after is not None:
                tell = partial(runner.tell_waiting, after=after, now=self._clock.wall_ms())
                told = await self._writer.submit(tell, self._publish, rows=200, waits=True)
                after, waiting = told.last, waiting + told.waiting
        except PoststreamError as error:  # they wait all the same
            logger.warning("waiting tasks were not told: %s", error)
        return waiting

    def _tell_one(self, delivery: Delivery) -> None:
        if self.stopped and not self._closed:
            tell = partial(
                runner.tell_one, id=delivery.id, round=delivery.round, now=self._clock.wall_ms()
            )
            self._writer.post(tell, self._told_one, _not_told, rows=2, waits=True)

    def _told_one(self, appended: Appended | None) -> None:
        if appended is not None:
            self._channels.publish(appended)

    def _publish(self, told: runner.Told) -> None:
        for appended in told.appended:
            self._channels.publish(appended)

    # -- failing -----------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        """The loop failed: rest, and start again."""
        self._worker.pause()
        if self._again is not None or self._state != "running" or self._closed:
            return
        now = self._clock.monotonic()
        if now - self._failed_at > CALM_SECONDS:
            self._failures = 0
        seconds = BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS) - 1)]
        self._failures, self._failed_at = self._failures + 1, now
        self._last_error = f"{type(error).__name__}: {error}"
        logger.error("the worker loop failed, again in %g s: %s", seconds, self._last_error)
        self._narrator.loop_failed(error, seconds=seconds)
        self._again = asyncio.get_running_loop().call_later(seconds, self._restart)

    def _restart(self) -> None:
        self._again = None
        self._narrator.say("info", "Worker loop starts again.")
        self._worker.start()


def _not_told(error: BaseException) -> None:
    logger.warning("a waiting task was not told: %s", error)
