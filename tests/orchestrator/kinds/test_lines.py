"""Bytes into lines: wherever the pieces are cut, the lines are the same."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kinds.lines import MAX_LINE_BYTES, LineSplitter

PIECES = st.lists(st.sampled_from([b"a", "é".encode(), b"\n", b"\r\n", b"\r", b" ", b"\xff"]))


def split(pieces: list[bytes]) -> list[str]:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines + splitter.flush()


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 60)))
def test_the_cuts_do_not_matter(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[begin:end] for begin, end in itertools.pairwise(places)]
    expected = [x.decode("utf-8", "replace") for x in re.split(rb"[\r\n]+", data) if x.strip()]
    assert split(parts) == expected == split([data])


@pytest.mark.parametrize("piece", [1, 7, 4096, 10_000_000])
def test_of_a_long_line_the_beginning_is_kept(piece: int) -> None:
    data = b"x" * (MAX_LINE_BYTES + 5) + b"\nnext\n" + b"y" * MAX_LINE_BYTES
    lines = split([data[at : at + piece] for at in range(0, len(data), piece)])
    assert lines == ["x" * MAX_LINE_BYTES + "…", "next", "y" * MAX_LINE_BYTES]
