"""Bytes into lines of text, with a bound on how much of a line is kept. No I/O."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 16 * 1024
"""Of a longer line only the beginning is kept: 50 MB without a line end must not stay in memory."""

_END = re.compile(rb"[\r\n]+")


class LineSplitter:
    """Cuts a stream of UTF-8 bytes at CR and LF; empty lines are left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._cut = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *complete, rest = _END.split(data)
        lines = []
        for piece in complete:
            self._keep(piece)
            lines += self.flush()
        self._keep(rest)
        return lines

    def flush(self) -> list[str]:
        """The line that has no end yet, if there is one."""
        line, cut = self._rest, self._cut
        self._rest, self._cut = b"", False
        if not line.strip():
            return []
        return [line.decode("utf-8", "replace") + ("…" if cut else "")]

    def _keep(self, piece: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._rest)
        self._cut = self._cut or len(piece) > room
        self._rest += piece[:room]
