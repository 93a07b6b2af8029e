"""The lines of a stream that belong to one answer; frames with an id come from the log as bytes.

No I/O. LF only, one LF after a comment: readers exist that split at blank lines alone, and others
that take a blank line after a comment for an empty message.
"""

from __future__ import annotations

import orjson

from orchestrator.events import to_json

KEEPALIVE = b": keep-alive\n"

BEGIN = KEEPALIVE + b"retry: 3000\n"
"""Sent at once. Without a blank line the `retry` line belongs to the first frame."""

DRAIN = b"retry: 1000\n"
"""The server goes down: come back soon."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"connection", b"keep-alive"),
    (b"x-content-type-options", b"nosniff"),
]


_EVENT = b"\nevent: "  # begins the second line of a frame, and no other: data is one line
_COMPLETE = b"\nevent: task_complete\n"
_TERMINAL = (_COMPLETE, b"\nevent: task_error\n")


def terminal_frame(frames: bytes) -> bytes:
    """The last of some frames if it is a terminal event, else nothing."""
    event = frames.rfind(_EVENT)
    if not frames.startswith(_TERMINAL, event):
        return b""
    _, _, last = frames[:event].rpartition(b"\n\n")
    return last + frames[event:]


def end_frame(task_id: str, frames: bytes) -> bytes:
    """The frame that closes an answer, made from the frame before it.

    Args:
        task_id: The task.
        frames: Frames of which the last one is the terminal event of a log.

    Returns:
        ``complete`` or ``error``, without an id.
    """
    event = frames.rfind(_EVENT)
    if frames.startswith(_COMPLETE, event):
        return b'event: complete\ndata: {"taskId":"%s"}\n\n' % task_id.encode()
    _, _, data = frames[event:].partition(b"\ndata: ")
    body = {"taskId": task_id, "error": orjson.loads(data)["error"]}
    return b"event: error\ndata: %s\n\n" % to_json(body).encode()
