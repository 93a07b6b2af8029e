"""The recorder of a run: a short buffer before the log.

Agents do not wait for commits, only for room: what they report while one commit is under way goes
into the next one, and pieces of text that wait together become one event. One transaction of a run
is under way at a time, so its events keep their order.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from orchestrator.clock import Clock
from orchestrator.errors import AttemptClosed, OutputLimitExceeded
from orchestrator.events import ArtifactInfo, Draft
from orchestrator.progress import Recorder
from orchestrator.store import agent_runs, artifacts, events, tasks
from orchestrator.store.events import Account, Appended, Change, RunKey
from orchestrator.store.tasks import Ended
from orchestrator.store.writer import Writer

BUFFER_EVENTS = 256  # per attempt: an agent that floods waits for the disk, not for memory
BUFFER_BYTES = 1024 * 1024
MERGED_BYTES = 64 * 1024  # pieces of text become one event up to here
LINGER_TURNS = 3  # turns of the loop a run's first events wait: an agent that ends at once
ACCOUNT_MS = 1000  # so old at most is what the task's row tells of a run that reports something
EVENT_OVERHEAD = 160  # bytes of an event beside what an agent wrote


class _Buffer:
    """What one attempt has reported and no transaction has taken yet."""

    __slots__ = ("bytes", "count", "field", "last")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.last: Draft | None = None
        self.field = ""


class LogRecorder:
    """Stores the events of one run.

    Args:
        writer: Where they are committed.
        run: Whose they are, under which epoch.
        publish: Called on the loop with what each commit added.
        clock: For timestamps and active time.
        active_ms: How long the task was active before this run.
        log_bytes: How long its log is already.
        last_seq: Number of its last event.
        max_log_bytes: How long it may get.
        max_event_bytes: How long one event may get.
    """

    def __init__(
        self,
        writer: Writer,
        run: RunKey,
        publish: Callable[[Appended], None],
        clock: Clock,
        active_ms: int,
        log_bytes: int,
        last_seq: int,
        max_log_bytes: int,
        max_event_bytes: int = 256 * 1024,
    ) -> None:
        self._loop = writer.turns.loop  # asking which one runs is a system call
        self._writer = writer
        self._run = run
        self._publish = publish
        self._turns = writer.turns
        self._clock = clock
        self._earlier_ms = active_ms
        self._started = clock.monotonic()
        self.stored_at = self._started
        """When something of this run was stored last, on the monotonic clock."""
        self._log_bytes = log_bytes
        self._accounted_ms = 0
        self._accounts = False  # whether what is under way brings the task's row up to date
        self.unaccounted = 0
        """By how much the log has grown that the task's row does not tell yet."""
        self._last_seq = last_seq
        self._max_log_bytes = max_log_bytes
        # A character takes at most 6 bytes once it is escaped; see `Reporter`.
        self._merged = min(MERGED_BYTES, max_event_bytes // 6)
        self._drafts: list[Draft] = []
        self._changes: list[Change] = []
        self._bytes = 0
        self._buffers: defaultdict[str, _Buffer] = defaultdict(_Buffer)
        self._waiting: list[asyncio.Future[None]] = []
        self._taken: list[asyncio.Future[None]] = []
        self._under_way = False
        self._scheduled = False
        self._linger_turns = LINGER_TURNS
        self._error: BaseException | None = None

    @property
    def active_ms(self) -> int:
        """How long the task has been active, all its runs together."""
        return self._earlier_ms + int((self._clock.monotonic() - self._started) * 1000)

    def account(self) -> Account:
        """What the task's row does not tell yet."""
        return Account(self.unaccounted, self.active_ms)

    def accept(self, draft: Draft) -> bool:
        """See `Recorder.accept`."""
        if self._error is not None:
            raise self._error
        buffer = self._buffers[draft.fields["agentRole"]]
        if buffer.count >= BUFFER_EVENTS or buffer.bytes >= BUFFER_BYTES:
            return False
        self._keep(buffer, draft)
        return True

    async def record(self, draft: Draft) -> None:
        """See `Recorder.record`."""
        if self._error is not None:
            raise self._error
        if draft.type == "agent_progress":
            if not self.accept(draft):
                await self._wait_for_room(draft)
        elif draft.type == "agent_start":
            self._add(draft, partial(agent_runs.begin, draft=draft))
            await self._committed()
        else:
            self._add(draft)
            await self._committed()

    async def end_attempt(self, draft: Draft, output: Any, *, last: bool) -> None:
        """See `Recorder.end_attempt`."""
        if self._error is not None:
            raise self._error
        self._buffers.pop(draft.fields["agentRole"], None)
        change = partial(agent_runs.end, draft=draft, output=output)
        if last:  # `finish` follows and takes it along
            self._drafts.append(draft)
            self._changes.append(change)
        else:
            self._add(draft, change)
            await self._committed()

    async def save_artifact(
        self, role: str, attempt: int, artifact: ArtifactInfo, content: bytes, draft: Draft
    ) -> None:
        """See `Recorder.save_artifact`."""
        self._count(len(content))
        id = await artifacts.save(
            self._writer, self._run, role, attempt, artifact, content, now=self._clock.wall_ms()
        )
        with artifacts.discarding(self._writer, id):
            await self.flush()
            show = partial(
                artifacts.show, artifact=id, run=self._run, draft=draft, heads=self._writer.heads,
                active_ms=self.active_ms, now=self._clock.wall_ms(),
            )  # fmt: skip
            # A future of its own: whoever waits may be cancelled, the transaction is not.
            await self._writer.submit(show, self._show, rows=2, waits=True)

    async def checkpoint(self, role: str, attempt: int, state: str) -> None:
        """See `Recorder.checkpoint`."""
        await self._change(
            partial(agent_runs.set_checkpoint, role=role, attempt=attempt, data=state)
        )

    async def store_process_group(self, role: str, attempt: int, group: int, started: int) -> None:
        """See `Recorder.store_process_group`."""
        await self._change(
            partial(
                agent_runs.set_process_group,
                role=role,
                attempt=attempt,
                group=group,
                started=started,
            )
        )

    async def finish(
        self, draft: Draft, *, completed: int, failed: int, publish: Callable[[Ended], None]
    ) -> Ended:
        """End the task, in one transaction with everything that is not stored yet.

        Args:
            draft: The terminal event.
            completed: How many agents delivered.
            failed: How many did not.
            publish: Called on the loop after the commit.

        Raises:
            AppendRefused: The log takes nothing of this run any more.
        """
        while self._under_way:
            await self._settled()
        if self._error is not None:
            raise self._error
        drafts, changes = self._take()
        finish = partial(
            tasks.finish, run=self._run, draft=draft, before=drafts, changes=changes,
            completed=completed, failed=failed, last_seq=self._last_seq,
            account=self.account(), now=self._clock.wall_ms(),
        )  # fmt: skip
        try:
            return await self._writer.submit(finish, publish, rows=len(drafts) + 3, waits=True)
        finally:  # what runs on of an agent may wait for room still
            self._fail(AttemptClosed("the task has ended"))

    async def flush(self) -> None:
        """Return when everything accepted so far is stored.

        Raises:
            AppendRefused: The log takes nothing of this run any more.
        """
        if self._error is not None:
            raise self._error
        if self._drafts:
            self._schedule(0)
            await self._committed()
        elif self._under_way:
            await self._settled()

    async def _change(self, change: Callable[..., AttemptClosed | None]) -> None:
        await self.flush()
        await self._writer.submit(partial(change, run=self._run), waits=True)

    async def _wait_for_room(self, draft: Draft) -> None:
        role = draft.fields["agentRole"]
        buffer = self._buffers[role]
        # Once, not until there is room: whoever else reports for this agent may always be
        # faster in taking it.
        await self.flush()
        if buffer is not self._buffers.get(role):
            # It ended while this call, of something that runs on, waited for room.
            raise AttemptClosed(f"attempt {draft.fields['attempt']} has ended")
        self._keep(buffer, draft)

    def _keep(self, buffer: _Buffer, draft: Draft) -> None:
        fields = draft.fields
        field = "content" if "content" in fields else "reasoning" if "reasoning" in fields else ""
        text = fields.get(field or "message") or ""
        size = len(text)
        self._count(size)
        buffer.bytes += size
        last = buffer.last
        if last is not None and field == buffer.field:
            earlier = last.fields[field]
            if len(earlier) + size <= self._merged:
                last.fields[field] = earlier + text
                return
        self._log_bytes += EVENT_OVERHEAD
        self._bytes += size + EVENT_OVERHEAD
        buffer.count += 1
        buffer.last, buffer.field = draft if field else None, field
        self._drafts.append(draft)
        self._schedule(self._linger_turns)

    def _count(self, size: int) -> None:
        if self._log_bytes + size > self._max_log_bytes:
            raise OutputLimitExceeded(
                f"the task's log and artifacts would exceed {self._max_log_bytes} bytes"
            )
        self._log_bytes += size

    def _add(self, draft: Draft, change: Change | None = None) -> None:
        self._drafts.append(draft)
        if change is not None:
            self._changes.append(change)
        self._schedule(0)

    async def _committed(self) -> None:
        """Wait for the transaction that takes what the buffer holds now."""
        await self._wait_in(self._waiting)

    async def _settled(self) -> None:
        """Wait for the transaction that is under way."""
        await self._wait_in(self._taken)

    async def _wait_in(self, waiting: list[asyncio.Future[None]]) -> None:
        # A future for each who waits: being cancelled ends one wait and withdraws nothing.
        future: asyncio.Future[None] = self._loop.create_future()
        waiting.append(future)
        await future

    def _schedule(self, turns: int) -> None:
        """Begin a transaction a few turns of the loop from now, unless one is under way."""
        if not self._under_way and not self._scheduled:
            self._scheduled = True
            self._turns.after(turns, self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        if self._under_way or not self._drafts:
            return
        self._under_way = True
        self._linger_turns = 0
        self._taken, self._waiting = self._waiting, []
        size = self._bytes
        drafts, changes = self._take()
        now = self._clock.wall_ms()
        account = None
        self._accounts = bool(changes) or not 0 <= now - self._accounted_ms < ACCOUNT_MS
        if self._accounts:
            account = self.account()
            self._accounted_ms = now
        append = partial(
            events.append, run=self._run, drafts=drafts, changes=changes,
            heads=self._writer.heads, account=account, now=now,
        )  # fmt: skip
        self._writer.post(
            append, self._end, self._fail,
            rows=len(drafts) + len(changes), size=size, waits=True, urgent=bool(self._taken),
        )  # fmt: skip

    def _take(self) -> tuple[list[Draft], list[Change]]:
        drafts, self._drafts = self._drafts, []
        changes, self._changes = self._changes, []
        self._bytes = 0
        for buffer in self._buffers.values():
            buffer.count = buffer.bytes = 0
            buffer.last = None
        return drafts, changes

    def _show(self, appended: Appended) -> None:
        self.stored_at = self._clock.monotonic()
        self._last_seq = appended.events[-1].seq
        self._publish(appended)

    def _end(self, appended: Appended) -> None:
        if self._accounts:
            self.unaccounted = 0
        else:
            self.unaccounted += events.length(appended.events)
        try:
            self._show(appended)
        finally:  # whatever becomes of the showing: it is stored, and the run goes on
            self._under_way = False
            taken, self._taken = self._taken, []
            for future in taken:
                if not future.done():
                    future.set_result(None)
            if self._drafts:
                self._begin()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._under_way = False
        taken, self._taken = self._taken + self._waiting, []
        self._waiting = []
        for future in taken:
            if not future.done():
                future.set_exception(error)


_conforms: type[Recorder] = LogRecorder
