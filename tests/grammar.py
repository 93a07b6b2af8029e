"""What every log obeys, and what every reader may say of it.

There is one list of events per task. It follows the grammar below, and whatever a reader has seen,
over all its connections, is a prefix of it from where the reader began, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TERMINAL = ("task_complete", "task_error")


class _Checker:
    """Reads one log from its beginning and objects to the first event that must not be there."""

    def __init__(self) -> None:
        self.task_id = ""
        self.selected: list[str] = []
        self.last: dict[str, int] = {}
        self.open: dict[str, int] = {}
        self.delivered: set[str] = set()
        self.given_up: set[str] = set()
        self.ended = False
        self.paused = False

    def read(self, seq: int, event: Mapping[str, Any]) -> None:
        assert event["seq"] == seq, f"number {event['seq']} stands where {seq} should"
        if seq == 1:
            assert event["type"] == "task_created", "a log begins with task_created"
            self.task_id, self.selected = event["taskId"], event["selectedAgents"]
            return
        assert event["taskId"] == self.task_id, "an event of another task"
        if self.ended:
            retried = event["type"] == "task_state" and event["reason"] == "retry"
            assert retried, "only a retry follows a terminal event"
        if self.paused:
            moves = event["type"] in ("task_state", "task_error")
            assert moves, "a paused task is resumed or ended, and nothing else"
            self.paused = False
        getattr(self, f"_{event['type']}")(event)

    def _task_created(self, event: Mapping[str, Any]) -> None:
        raise AssertionError("task_created stands at the beginning only")

    def _agent_start(self, event: Mapping[str, Any]) -> None:
        role, attempt = event["agentRole"], event["attempt"]
        assert role in self.selected, "an agent that was not selected"
        assert role not in self.open, "the earlier attempt has no end"
        assert role not in self.delivered, "a finished agent runs again"
        assert role not in self.given_up, "it was said not to be tried again"
        assert attempt == self.last.get(role, 0) + 1, "attempts are numbered 1, 2, 3"
        self.last[role] = self.open[role] = attempt

    def _agent_progress(self, event: Mapping[str, Any]) -> None:
        self._of_open_attempt(event)
        said = event.keys() - {"type", "taskId", "seq", "timestamp", "agentRole", "attempt"}
        assert said, "progress that says nothing"

    def _agent_complete(self, event: Mapping[str, Any]) -> None:
        self._of_open_attempt(event)
        del self.open[event["agentRole"]]
        self.delivered.add(event["agentRole"])

    def _agent_error(self, event: Mapping[str, Any]) -> None:
        self._of_open_attempt(event)
        del self.open[event["agentRole"]]
        if not event["willRetry"]:
            self.given_up.add(event["agentRole"])

    def _task_state(self, event: Mapping[str, Any]) -> None:
        if event["state"] in ("queued", "paused"):
            assert not self.open, f"nobody runs the task, but attempts are open: {self.open}"
            told = event["reason"] == "worker_stopped" or set(event["done"]) == self.delivered
            assert told, "done names the agents that are finished"
        self.paused = event["state"] == "paused"
        if event["reason"] == "retry":
            assert self.ended, "a retry follows a terminal event"
            self.ended = False
            self.given_up.clear()

    def _task_complete(self, event: Mapping[str, Any]) -> None:
        self._end()
        assert event["outputs"] == len(self.delivered), "outputs counts who delivered"

    def _task_error(self, event: Mapping[str, Any]) -> None:
        self._end()

    def _end(self) -> None:
        assert not self.open, f"the task ended, but attempts are open: {self.open}"
        self.ended = True

    def _of_open_attempt(self, event: Mapping[str, Any]) -> None:
        role = event["agentRole"]
        assert self.open.get(role) == event["attempt"], "no attempt of that number is open"


def check_log(events: Iterable[Mapping[str, Any]], *, ended: bool = True) -> None:
    """Fail unless the events are a whole log that obeys the grammar.

    Args:
        events: Parsed events in order, from number 1.
        ended: Whether the task must have ended.
    """
    checker = _Checker()
    shown: list[str] = []
    for seq, event in enumerate(events, start=1):
        shown.append(f"{event.get('seq')} {event['type']} {event.get('agentRole', '')}")
        try:
            checker.read(seq, event)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *shown[-20:]])) from None
    assert shown, "an empty log"
    if ended:
        assert checker.ended, "\n".join(["the log has no end", *shown[-20:]])


def split_frames(data: bytes) -> list[bytes]:
    """The frames with an id of a stream, each as it was sent, without what belongs to one answer.

    A frame that was cut off at the end is left out, as every client does.
    """
    frames = []
    for block in data.split(b"\n\n")[:-1]:
        lines = [
            line for line in block.split(b"\n") if not line.startswith((b":", b"retry:")) and line
        ]
        if lines and lines[0].startswith(b"id: "):
            frames.append(b"\n".join(lines) + b"\n\n")
    return frames


def parse_frames(frames: Iterable[bytes]) -> list[dict[str, Any]]:
    """The events of frames; fails when ``id``, ``event`` and ``data`` do not agree."""
    events = []
    for frame in frames:
        id, type, data = frame.decode().removesuffix("\n\n").split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert id == f"id: {event['seq']}", frame
        assert type == f"event: {event['type']}", frame
        events.append(event)
    return events


def check_prefix(seen_frames: Sequence[bytes], final_frames: Sequence[bytes]) -> None:
    """Fail unless what a reader saw is the log from where it began: same bytes, no gap, no double.

    Args:
        seen_frames: All frames with an id, over all connections of this reader.
        final_frames: The whole log.
    """
    if not seen_frames:
        return
    first = parse_frames(seen_frames[:1])[0]["seq"]
    expected = final_frames[first - 1 : first - 1 + len(seen_frames)]
    for seen, stored in zip(seen_frames, expected, strict=False):
        assert seen == stored, f"seen {seen[:200]!r}\nstored {stored[:200]!r}"
    assert len(seen_frames) == len(expected), "more was seen than is stored"
