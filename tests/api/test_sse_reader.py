"""The reader of event streams: whatever the bytes are cut into, the messages are the same."""

from __future__ import annotations

import pytest

from api.sse_reader import SseMessage, SseReader, SseTooLarge
from orchestrator.events import framed

BOM = b"\xef\xbb\xbf"


def message(data: str, event: str = "message", id: str | None = None) -> SseMessage:
    return SseMessage(event, data, id)


CASES: dict[str, tuple[bytes, list[SseMessage]]] = {
    "one of ours": (
        framed([(7, "task_created", '{"a":1}')]),
        [message('{"a":1}', "task_created", "7")],
    ),
    "our whole answer": (
        (
            b": keep-alive\nretry: 3000\nid: 1\nevent: a\ndata: x\n\n: keep-alive\n"
            b'id: 2\nevent: b\ndata: y\n\nevent: complete\ndata: {"taskId":"t"}\n\n'
        ),
        [message("x", "a", "1"), message("y", "b", "2"), message('{"taskId":"t"}', "complete")],
    ),
    "line ends LF": (b"data: a\ndata: b\n\n", [message("a\nb")]),
    "line ends CR": (b"data: a\rdata: b\r\r", [message("a\nb")]),
    "line ends CRLF": (b"data: a\r\ndata: b\r\n\r\n", [message("a\nb")]),
    "line ends of all kinds": (
        b"data: a\rdata: b\ndata: c\r\n\ndata: d\n\r",
        [
            message("a\nb\nc"),
            message("d"),
        ],
    ),
    "CRLF twice is one blank line": (b"data: a\r\n\r\n\r\n\r\n", [message("a")]),
    "byte order mark": (BOM + b"data: a\n\n", [message("a")]),
    "byte order mark before a blank line": (BOM + b"\ndata: a\n\n", [message("a")]),
    "byte order mark later is text": (
        b"\n" + BOM + b"data: a\n\ndata: " + BOM + b"\n\n",
        [message("\ufeff")],
    ),
    "one blank after the colon goes": (b"data:  a \ndata:b\n\n", [message(" a \nb")]),
    "other line ends are text": (
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n".encode(),
        [message("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg")],
    ),
    "letters of several bytes": ("data: ü漢😀\n\n".encode(), [message("ü漢😀")]),
    "bytes that are no UTF-8": (b"data: \xff\xfe\n\n", [message("\ufffd\ufffd")]),
    "empty data is a message": (b"data\n\ndata:\n\n", [message(""), message("")]),
    "no data is none": (b"id: 4\nevent: a\n\ndata: b\n\n", [message("b")]),
    "an id holds for its own message": (
        b"id: 4\ndata: a\n\ndata: b\n\n",
        [message("a", id="4"), message("b")],
    ),
    "an empty id": (b"id:\ndata: a\n\n", [message("a", id="")]),
    "an id with NUL does not count": (b"id: 4\nid: 5\x006\ndata: a\n\n", [message("a", id="4")]),
    "the last of several ids and events": (
        b"id: 4\nid: 5\nevent: a\nevent: b\ndata: c\n\n",
        [message("c", "b", "5")],
    ),
    "an empty event is a message": (b"event:\ndata: a\n\n", [message("a")]),
    "fields of others": (b"x: 1\ndatax: 2\n data: 3\nDATA: 4\ndata: a\n\n", [message("a")]),
    "comments": (b":\n: data: b\n:data: c\ndata: a\n\n", [message("a")]),
    "colons in a value": (b'data: {"a": "b:c"}\n\n', [message('{"a": "b:c"}')]),
    "what is cut off is no message": (b"data: a\n\ndata: b\n", [message("a")]),
    "nothing": (b"", []),
    "blank lines": (b"\n\r\n\r\r", []),
}


@pytest.mark.parametrize("name", CASES)
def test_messages_do_not_depend_on_the_cuts(name: str) -> None:
    data, expected = CASES[name]
    for cut in range(len(data) + 1):
        reader = SseReader()
        assert reader.feed(data[:cut]) + reader.feed(b"") + reader.feed(data[cut:]) == expected
    reader = SseReader()
    bytewise = [m for byte in data for m in reader.feed(bytes([byte]))]
    assert bytewise == expected


def test_a_message_comes_as_soon_as_its_blank_line_does() -> None:
    reader = SseReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\n") == [message("a")]
    assert reader.feed(b"data: b\r\n") == []
    assert reader.feed(b"\r") == [message("b")]
    assert reader.feed(b"\n") == []


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"data: " + b"x" * 100, id="a line"),
        pytest.param(b"data: xxxx\n" * 20, id="many lines"),
        pytest.param(b": " + b"x" * 100, id="a comment"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_message_without_end_is_refused(endless: bytes, piece: int) -> None:
    reader = SseReader(max_bytes=64)
    reader.feed(b"data: small\n\n")
    pieces = [endless[start : start + piece] for start in range(0, len(endless), piece)]
    with pytest.raises(SseTooLarge):
        [reader.feed(part) for part in pieces]


def test_messages_and_comments_are_bounded_each_not_together() -> None:
    reader = SseReader(max_bytes=64)
    assert len(reader.feed(b"data: 0123456789\n\n" * 100)) == 100
    assert reader.feed(b"data: a\n") == []
    for _ in range(100):
        assert reader.feed(b": keep-alive\n") == []
    assert reader.feed(b"\n") == [message("a")]


def test_a_large_message_takes_time_in_proportion() -> None:
    """Byte by byte, a quadratic reader would take minutes for this."""
    reader = SseReader()
    text = "x" * 300_000
    found = [m for byte in f"data: {text}\n\n".encode() for m in reader.feed(bytes([byte]))]
    assert found == [message(text)]
