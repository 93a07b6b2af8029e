"""The recorder of a run: a short buffer before the log.

Agents do not wait for commits, only for room: what they report while one commit is under way goes
into the next one, and pieces of text that wait together become one event. One transaction of a run
is under way at a time, so its events keep their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from orchestrator.clock import Clock
from orchestrator.errors import AppendRefused, OutputLimitExceeded
from orchestrator.events import ArtifactInfo, Draft
from orchestrator.progress import Recorder
from orchestrator.store import agent_runs, artifacts, events
from orchestrator.store.database import Connection
from orchestrator.store.events import Appended, RunKey
from orchestrator.store.writer import Writer

BUFFER_EVENTS = 256  # per attempt: an agent that floods waits for the disk, not for memory
BUFFER_BYTES = 1024 * 1024
MERGED_BYTES = 64 * 1024  # pieces of text become one event up to here
EVENT_OVERHEAD = 160  # bytes of an event beside what an agent wrote

Change = Callable[[Connection, RunKey], None]
"""A change of another row in the transaction of an event."""


class _Buffer:
    """What one attempt has reported and no transaction has taken yet."""

    __slots__ = ("bytes", "count", "field", "last")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
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
        max_log_bytes: How long it may get.
    """

    def __init__(
        self,
        writer: Writer,
        run: RunKey,
        publish: Callable[[Appended], None],
        *,
        clock: Clock,
        active_ms: int,
        log_bytes: int,
        max_log_bytes: int,
    ) -> None:
        self._writer = writer
        self._run = run
        self._publish = publish
        self._clock = clock
        self._earlier_ms = active_ms
        self._started = clock.monotonic()
        self._log_bytes = log_bytes
        self._max_log_bytes = max_log_bytes
        self._drafts: list[Draft] = []
        self._changes: list[Change] = []
        self._bytes = 0
        self._buffers: dict[str, _Buffer] = {}
        self._next: asyncio.Future[None] | None = None
        self._under_way: asyncio.Future[Any] | None = None
        self._scheduled = False
        self._error: BaseException | None = None

    @property
    def active_ms(self) -> int:
        """How long the task has been active, all its runs together."""
        return self._earlier_ms + int((self._clock.monotonic() - self._started) * 1000)

    async def record(self, draft: Draft) -> None:
        """See `Recorder.record`."""
        if self._error is not None:
            raise self._error
        if draft.type == "agent_progress":
            await self._accept(draft)
        elif draft.type == "agent_start":
            await self._store(draft, partial(agent_runs.begin, draft=draft))
        else:
            await self._store(draft, None)

    async def end_attempt(self, draft: Draft, output: Any) -> None:
        """See `Recorder.end_attempt`."""
        await self._store(draft, partial(agent_runs.end, draft=draft, output=output))
        self._buffers.pop(draft.fields["agentRole"], None)

    async def save_artifact(
        self, role: str, attempt: int, artifact: ArtifactInfo, content: bytes, draft: Draft
    ) -> None:
        """See `Recorder.save_artifact`."""
        self._count(len(content))
        id = await artifacts.save(
            self._writer, self._run, role, attempt, artifact, content, now=self._clock.wall_ms()
        )
        await self._flushed()
        show = partial(
            artifacts.show, artifact=id, run=self._run, draft=draft,
            active_ms=self.active_ms, now=self._clock.wall_ms(),
        )  # fmt: skip
        # Structural: whoever waits may be cancelled, the transaction is not.
        await asyncio.shield(self._submit(show))

    async def checkpoint(self, role: str, attempt: int, state: str) -> None:
        """See `Recorder.checkpoint`."""
        await self._change(
            partial(agent_runs.set_checkpoint, role=role, attempt=attempt, data=state)
        )

    async def store_process_group(self, role: str, attempt: int, group: int, started: int) -> None:
        """See `Recorder.store_process_group`."""
        await self._change(
            partial(
                agent_runs.set_process_group, role=role, attempt=attempt, group=group,
                started=started,
            )  # fmt: skip
        )

    async def flush(self) -> None:
        """Return when everything accepted so far is stored.

        Raises:
            AppendRefused: The log takes nothing of this run any more.
        """
        await self._flushed()

    async def _change(self, change: Change) -> None:
        await self._flushed()
        run = self._run

        def operation(connection: Connection) -> None:
            change(connection, run)

        await asyncio.shield(self._writer.submit(operation, waits=True))

    async def _accept(self, draft: Draft) -> None:
        fields = draft.fields
        buffer = self._buffers.get(fields["agentRole"])
        if buffer is None:
            buffer = self._buffers[fields["agentRole"]] = _Buffer()
        while buffer.count >= BUFFER_EVENTS or buffer.bytes >= BUFFER_BYTES:
            await self._flushed()
        field = "content" if "content" in fields else "reasoning" if "reasoning" in fields else ""
        text = fields.get(field) or fields.get("message") or ""
        self._count(len(text))
        buffer.bytes += len(text)
        last = buffer.last
        if field and last is not None and field == buffer.field:
            if len(last.fields[field]) + len(text) <= MERGED_BYTES:
                last.fields[field] += text
                return
        self._log_bytes += EVENT_OVERHEAD
        self._bytes += len(text) + EVENT_OVERHEAD
        buffer.count += 1
        buffer.last, buffer.field = (draft, field) if field else (None, "")
        self._drafts.append(draft)
        self._kick()

    def _count(self, size: int) -> None:
        if self._log_bytes + size > self._max_log_bytes:
            raise OutputLimitExceeded(
                f"the task's log and artifacts would exceed {self._max_log_bytes} bytes"
            )
        self._log_bytes += size

    async def _store(self, draft: Draft, change: Change | None) -> None:
        if self._error is not None:
            raise self._error
        self._drafts.append(draft)
        if change is not None:
            self._changes.append(change)
        self._kick()
        await self._committed()

    async def _flushed(self) -> None:
        if self._error is not None:
            raise self._error
        if self._drafts:
            self._kick()
            await self._committed()
        elif self._under_way is not None:
            await asyncio.wait([self._under_way])
            if self._error is not None:
                raise self._error

    async def _committed(self) -> None:
        """Wait for the commit that takes what the buffer holds now."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)

    def _kick(self) -> None:
        """Start a transaction at the end of this turn of the loop, unless one is under way."""
        if self._under_way is None and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        if self._under_way is not None or not self._drafts:
            return
        drafts, self._drafts = self._drafts, []
        changes, self._changes = self._changes, []
        size, self._bytes = self._bytes, 0
        waiting, self._next = self._next, None
        for buffer in self._buffers.values():
            buffer.clear()
        run, active_ms, now = self._run, self.active_ms, self._clock.wall_ms()

        def operation(connection: Connection) -> Appended | AppendRefused:
            appended = events.append(connection, run, drafts, active_ms=active_ms, now=now)
            if not isinstance(appended, AppendRefused):
                for change in changes:
                    change(connection, run)
            return appended

        self._under_way = self._submit(operation, rows=len(drafts) + len(changes), size=size)
        self._under_way.add_done_callback(partial(self._end, waiting))

    def _submit(
        self, operation: Callable[[Connection], Any], *, rows: int = 2, size: int = 0
    ) -> asyncio.Future[Appended]:
        return self._writer.submit(operation, self._publish, rows=rows, size=size, waits=True)

    def _end(
        self, waiting: asyncio.Future[None] | None, under_way: asyncio.Future[Appended]
    ) -> None:
        self._under_way = None
        error = under_way.exception()
        if error is not None:
            self._error = error
        for future in (waiting, self._next if error is not None else None):
            if future is not None and not future.done():
                if error is not None:
                    future.set_exception(error)
                    future.exception()  # whoever waited may be gone
                else:
                    future.set_result(None)
        if self._drafts and error is None:
            self._begin()


_conforms: type[Recorder] = LogRecorder
