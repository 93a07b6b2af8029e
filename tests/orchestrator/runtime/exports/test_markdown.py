"""Markdown shows what it is told and does nothing of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.exports.markdown import Fence, code, fenced, inline, visible

PIECES = st.lists(st.text(st.sampled_from("`~\nab \r<"), max_size=12), max_size=8)


@given(PIECES)
def test_a_fence_is_longer_than_any_within_it_however_the_text_is_cut(pieces: list[str]) -> None:
    fence = Fence()
    for piece in pieces:
        fence.measure(piece)
    longest = max((len(run) for run in re.findall("`+", "".join(pieces))), default=0)
    assert fence.line == "`" * max(3, longest + 1)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "![x](http://127.0.0.1/pixel)",
        "a | b\n# heading\n- [ ] x",
        "`code` *bold* ~~gone~~ &lt; $x$",
        "one\n\n    four",
        "www.example.com http://example.com a@example.com",
    ],
)
def test_a_short_text_is_one_line_and_only_text(text: str) -> None:
    made = inline(text)
    assert "\n" not in made
    assert not re.search(r"(?<!\\)[<>\[\]()`*_|~&!#@:]", made), made
    assert re.sub(r"\\(.)", r"\1", made) == " ".join(text.split())


def test_nothing_invisible_stays() -> None:
    text = "a\x1b[31m\x07\x00\x9b\u202eb\u2066\u200f\ufeffc\td\r\ne\rf"
    assert visible(text) == "a\ufffd[31m" + "\ufffd" * 4 + "b" + "\ufffd" * 3 + "c\td\ne\nf"
    assert code("a`b|c\n d") == "`a'b\u2223c d`"


def test_a_fenced_text_ends_where_its_fence_does() -> None:
    assert fenced("a\n```\n<b>", "json") == "````json\na\n```\n<b>\n````\n"
