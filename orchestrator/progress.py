"""From an agent's calls to events: the callback, the recorder port, and the reporter between.

A `Reporter` belongs to one attempt. It turns calls into drafts, keeps the limits, remembers what
was written, and refuses everything once the attempt has ended. It hands drafts to a `Recorder`:
the runtime's stores them in the log, the one here gives them to a callback.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.clock import Clock, iso
from orchestrator.errors import AgentError, AttemptClosed, CallbackFailed, OutputLimitExceeded
from orchestrator.events import (
    EVENT,
    TERMINAL_TYPES,
    ArtifactInfo,
    Draft,
    Event,
    cleaned,
    to_json,
)  # fmt: skip

MAX_ITEMS = 2**53 - 1  # what every JSON reader takes for a whole number

EVENT_FIELDS_BYTES = 512  # what an event has besides its text

ProgressCallback = Callable[[Event], Awaitable[None] | None]
"""Called with every event in order. A slow callback slows the agent that reports; one that raises
ends the run with the code ``callback_failed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one agent may write."""

    max_event_bytes: int = 256 * 1024
    """Longer content is split, a longer message is cut: one event must fit one write."""
    max_agent_output_bytes: int = 8 * 1024 * 1024
    """Output text and reasoning of one attempt: a flood must not fill the disk."""
    max_artifact_bytes: int = 64 * 1024 * 1024
    """One artifact: it lives in the database."""


class Recorder(Protocol):
    """Where the events of one run go, in order. It numbers nothing before it has stored it."""

    def accept(self, draft: Draft) -> bool:
        """Take an `agent_progress` if that needs no waiting; False when `record` has to.

        Raises:
            AppendRefused: As `record`.
            OutputLimitExceeded: As `record`.
        """

    async def record(self, draft: Draft) -> None:
        """Take one event.

        `agent_progress` returns when it is accepted and may wait while a buffer is full. Every
        other type returns when it is stored, after everything before it; that wait is not ended
        by cancelling, since what was handed over cannot be withdrawn.

        Raises:
            AppendRefused: Another run owns the task, or its status forbids events.
            OutputLimitExceeded: The task's log is as long as it may get.
        """

    async def end_attempt(self, draft: Draft, output: Any, *, last: bool) -> None:
        """Store `agent_complete` or `agent_error` with the attempt's whole JSON output.

        With `last` the terminal event follows at once: it may return when accepted, and both are
        stored together.

        Raises:
            AppendRefused: As above, or the attempt has ended already.
        """

    async def save_artifact(
        self, role: str, attempt: int, artifact: ArtifactInfo, content: bytes, draft: Draft
    ) -> None:
        """Store an artifact and, in the transaction that makes it visible, its event."""

    async def checkpoint(self, role: str, attempt: int, state: str) -> None:
        """Store the JSON text an agent wants back in its next attempt."""

    async def store_process_group(self, role: str, attempt: int, group: int, started: int) -> None:
        """Store a process group with its attempt: its id and when its leader started.

        Whoever takes the task over ends what is left of the group before the next attempt.
        """


class Reporter:
    """The voice of one attempt.

    Args:
        role: The agent.
        attempt: Number of the attempt, from 1.
        recorder: Where events go.
        limits: What may be written.
        clock: For timestamps.
    """

    __slots__ = (
        "_clock", "_head", "_limits", "_recorder", "_safe_characters", "_text", "_text_bytes",
        "artifacts", "attempt", "checkpointed", "closed", "role",
    )  # fmt: skip

    def __init__(
        self, role: str, attempt: int, recorder: Recorder, limits: Limits, clock: Clock
    ) -> None:
        self.role = role
        self.attempt = attempt
        self.artifacts: dict[str, ArtifactInfo] = {}
        self.checkpointed: str | None = None
        """JSON text of what `checkpoint` stored last."""
        self.closed = False
        """Whether the attempt has ended."""
        self._head: dict[str, Any] = {"agentRole": role, "attempt": attempt}
        self._recorder = recorder
        self._limits = limits
        # A character takes at most 4 bytes, 6 once it is escaped.
        self._safe_characters = limits.max_event_bytes // 6
        self._clock = clock
        self._text: list[str] = []
        self._text_bytes = 0

    @property
    def text(self) -> str:
        """Everything written so far."""
        return "".join(self._text)

    def close(self) -> None:
        """From now on every call raises `AttemptClosed`."""
        self.closed = True

    def draft(self, type: str, fields: dict[str, Any]) -> Draft:
        """An event of this attempt."""
        return Draft(type, {**self._head, **fields}, self._clock.wall_ms())

    async def progress(
        self,
        message: str | None,
        progress: float | None,
        done: int | None,
        total: int | None,
        failed: int | None,
        eta_seconds: float | None,
    ) -> None:
        """See `AgentContext.progress`; all by position, as this is called for every event."""
        fields = self._head.copy()
        if message is not None:
            plain = len(message) <= self._safe_characters and message.isascii()
            fields["message"] = message if plain else self._cut(message)
        if progress is None and done is not None and total:
            progress = done / total
        if progress is not None and math.isfinite(progress):
            fields["progress"] = min(1.0, max(0.0, round(progress, 4)))
        if done is not None:
            fields["itemsDone"] = _count(done)
        if total is not None:
            fields["itemsTotal"] = _count(total)
        if failed is not None:
            fields["itemsFailed"] = _count(failed)
        if eta_seconds is not None and math.isfinite(eta_seconds):
            fields["etaSeconds"] = max(0.0, round(eta_seconds, 1))
        if fields != self._head and (draft := self._offer(fields)) is not None:
            await self._recorder.record(draft)

    def write(self, text: str) -> Coroutine[Any, Any, None]:
        """See `AgentContext.write`."""
        return self._pieces("content", text)

    def reason(self, text: str) -> Coroutine[Any, Any, None]:
        """Report a piece of reasoning, which is never part of the output."""
        return self._pieces("reasoning", text)

    async def tool(self, call_id: str, name: str, state: str) -> None:
        """Report a tool call: started, finished or failed."""
        call = {"callId": cleaned(call_id), "name": cleaned(name), "state": state}
        if (draft := self._offer({**self._head, "tool": call})) is not None:
            await self._recorder.record(draft)

    def check_output(self, output: Any) -> None:
        """Raise `OutputLimitExceeded` when a JSON output is larger than an agent's may be."""
        if len(to_json(output)) > self._limits.max_agent_output_bytes:
            raise OutputLimitExceeded(
                f"the agent's output has more than {self._limits.max_agent_output_bytes} bytes"
            )

    async def save_artifact(self, name: str, content: bytes, media_type: str) -> ArtifactInfo:
        """See `AgentContext.save_artifact`."""
        check_artifact_name(name)
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise AgentError(f"{media_type!r} is no media type", code="invalid_artifact")
        if len(content) > self._limits.max_artifact_bytes:
            raise OutputLimitExceeded(
                f"the artifact {name!r} has {len(content)} bytes; "
                f"{self._limits.max_artifact_bytes} are allowed"
            )
        if self.closed:
            raise self._ended()
        artifact = ArtifactInfo(name=name, media_type=media_type, size=len(content))
        fields = {"artifact": artifact.model_dump(by_alias=True)}
        draft = self.draft("agent_progress", fields)
        await self._recorder.save_artifact(self.role, self.attempt, artifact, content, draft)
        self.artifacts[name] = artifact
        return artifact

    async def checkpoint(self, state: Any) -> None:
        """See `AgentContext.checkpoint`."""
        if self.closed:
            raise self._ended()
        text = to_json(state)
        if len(text) > self._limits.max_agent_output_bytes:
            raise OutputLimitExceeded("the checkpoint is larger than an agent's output may be")
        await self._recorder.checkpoint(self.role, self.attempt, text)
        self.checkpointed = text

    async def store_process_group(self, group: int, started: int) -> None:
        """See `AgentContext.store_process_group`."""
        if self.closed:
            raise self._ended()
        await self._recorder.store_process_group(self.role, self.attempt, group, started)

    def _offer(self, fields: dict[str, Any]) -> Draft | None:
        """Report an `agent_progress`; returns it when the recorder has to be waited for."""
        if self.closed:
            raise self._ended()
        draft = Draft("agent_progress", fields, self._clock.wall_ms())
        return None if self._recorder.accept(draft) else draft

    async def _pieces(self, field: str, text: str) -> None:
        if not text:
            return
        if self.closed:
            raise self._ended()
        self._count(text)
        text = self._clean(text)
        size = len(text) if self._is_one_event(text) else self._safe_characters
        for start in range(0, len(text), size):
            piece = text if len(text) <= size else text[start : start + size]
            if (draft := self._offer({**self._head, field: piece})) is not None:
                await self._recorder.record(draft)
            if field == "content":  # only what was accepted is part of the output
                self._text.append(piece)

    def _cut(self, message: str) -> str:
        if not message.isascii():
            message = self._clean(message)
        if len(message) <= self._safe_characters or self._is_one_event(message):
            return message
        return message[: self._safe_characters - 1] + "…"

    def _is_one_event(self, text: str) -> bool:
        if len(text) <= self._safe_characters:
            return True
        most = self._limits.max_event_bytes - EVENT_FIELDS_BYTES
        return len(text) <= most and len(to_json(text).encode()) <= most

    def _count(self, text: str) -> None:
        self._text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if self._text_bytes > self._limits.max_agent_output_bytes:
            raise OutputLimitExceeded(
                f"the agent wrote more than {self._limits.max_agent_output_bytes} bytes of output"
            )

    def _clean(self, text: str) -> str:
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            return str(cleaned(text))
        return text

    def _ended(self) -> AttemptClosed:
        return AttemptClosed(f"attempt {self.attempt} of {self.role} has ended")


def _count(items: int) -> int:
    return min(max(0, int(items)), MAX_ITEMS)


_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*(; ?[a-z0-9=_-]+)?")
_ARTIFACT_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_artifact_name(name: str) -> None:
    """Raise `AgentError` unless the name is safe as a file name on every system."""
    safe = (
        0 < len(name) <= 200
        and _ARTIFACT_NAME.fullmatch(name)
        and not name.startswith(".")
        and name == name.strip(" .")
        and not _DEVICE.fullmatch(name)
        and cleaned(name) == name
    )
    if not safe:
        raise AgentError(
            f"{cleaned(name[:50])!r} is no name for an artifact: one plain file name, no folders",
            code="invalid_artifact",
        )


class CallbackRecorder:
    """Gives every event to a callback; keeps artifacts and checkpoints in memory.

    Args:
        task_id: The task.
        callback: Called with every event, or None.
    """

    def __init__(self, task_id: str, callback: ProgressCallback | None) -> None:
        self._task_id = task_id
        self._callback = callback
        self._failed = False
        self.artifacts: dict[tuple[str, str], bytes] = {}
        """Content by role and name."""

    def accept(self, draft: Draft) -> bool:
        """The callback may have to be waited for."""
        return False

    async def record(self, draft: Draft) -> None:
        """Give the event to the callback."""
        if self._callback is None:
            return
        if self._failed and draft.type not in TERMINAL_TYPES:  # whoever swallowed it stops here
            raise CallbackFailed("the progress callback raised before")
        event = EVENT.validate_python(
            {
                "type": draft.type,
                "taskId": self._task_id,
                "timestamp": iso(draft.at_ms),
                **cleaned(draft.fields),
            }
        )
        try:
            answer = self._callback(event)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # the callback is foreign code; whatever it raises ends the run
            self._failed = True
            raise CallbackFailed("the progress callback raised") from error

    async def end_attempt(self, draft: Draft, output: Any, *, last: bool) -> None:
        """Give the end of an attempt to the callback."""
        await self.record(draft)

    async def save_artifact(
        self, role: str, attempt: int, artifact: ArtifactInfo, content: bytes, draft: Draft
    ) -> None:
        """Keep the content and report it."""
        self.artifacts[role, artifact.name] = content
        await self.record(draft)

    async def checkpoint(self, role: str, attempt: int, state: str) -> None:
        """Nothing to keep: a run without a log does not come back."""

    async def store_process_group(self, role: str, attempt: int, group: int, started: int) -> None:
        """Nothing to keep: nobody takes this run over."""


_conforms: type[Recorder] = CallbackRecorder
