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


_TERMINAL = (b"\nevent: task_complete\n", b"\nevent: task_error\n")
_HEAD_BYTES = 64  # id and event lines of a frame


def terminal_frame(frames: bytes) -> bytes:
    """The last of some frames if it is a terminal event, else nothing."""
    start = frames.rfind(b"\n\n", 0, -2)
    start = 0 if start < 0 else start + 2
    head = frames[start : start + _HEAD_BYTES]
    return frames[start:] if any(line in head for line in _TERMINAL) else b""


def end_frame(frames: bytes) -> bytes:
    """The frame that closes an answer, made from the frame before it.

    Args:
        frames: Frames of which the last one is the terminal event of a log.

    Returns:
        ``complete`` or ``error``, without an id.
    """
    _, _, last = frames[:-2].rpartition(b"\n\n")
    _, _, data = last.partition(b"\ndata: ")
    event = orjson.loads(data)
    if event["type"] == "task_complete":
        return b'event: complete\ndata: {"taskId":"%s"}\n\n' % event["taskId"].encode()
    body = {"taskId": event["taskId"], "error": event["error"]}
    return b"event: error\ndata: %s\n\n" % to_json(body).encode()
