"""Markdown that says what it is told and does nothing else.

What agents and people wrote may hold HTML, links, images, terminal codes and signs that turn the
direction of text. In a report it is shown, never carried out: short texts have every sign of the
language escaped, long ones stand in a fence longer than any within them.
"""

from __future__ import annotations

import re

_SIGNS = re.compile(r"[\\`*_{}\[\]<>()#+!|&~^$:@=\"'-]")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
_BACKTICKS = re.compile(r"`+")
_MIN_FENCE = 3


def inline(text: str) -> str:
    """A text for a heading or a cell: one line, and nothing but text."""
    return _SIGNS.sub(r"\\\g<0>", " ".join(visible(text).split()))


def code(text: str) -> str:
    """A short text of ours as code; whatever would end it is replaced."""
    return "`" + " ".join(visible(text).split()).replace("`", "'").replace("|", "\u2223") + "`"


def visible(text: str) -> str:
    """A text without signs that no eye sees; line ends are LF."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


class Fence:
    """A fence that stands around a text which comes in pieces.

    Give every piece to `measure` first; then `line` opens and closes.
    """

    def __init__(self) -> None:
        self._longest = 0
        self._run = 0  # of backticks at the end of the piece before

    def measure(self, text: str) -> None:
        """Look at the next piece of what will stand inside."""
        for run in _BACKTICKS.finditer(text):
            length = len(run[0]) + (self._run if run.start() == 0 else 0)
            self._longest = max(self._longest, length)
        if text:
            whole = text.strip("`") == ""
            end = len(text) - len(text.rstrip("`"))
            self._run = self._run + end if whole else end

    @property
    def line(self) -> str:
        """The line before and behind it."""
        return "`" * max(_MIN_FENCE, self._longest + 1)


def fenced(text: str, language: str = "") -> str:
    """A whole text in a fence."""
    fence = Fence()
    fence.measure(text)
    return f"{fence.line}{language}\n{visible(text)}\n{fence.line}\n"
