"""Markdown whose texts come from a repository nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_ESCAPED = str.maketrans({c: f"\\{c}" for c in "\\|<>[]*_#~"})
_MAX_CELL = 160  # characters; a table has to stay readable


def text(value: str) -> str:
    """A text of somebody else on one line: its words, code between backticks, and nothing else."""
    pieces = _on_one_line(value).split("`")
    if len(pieces) % 2 == 0:  # one backtick has no partner
        return "'".join(pieces).translate(_ESCAPED)
    return "".join(
        code(piece) if index % 2 else piece.translate(_ESCAPED)
        for index, piece in enumerate(pieces)
    )


def code(value: str) -> str:
    """A name of somebody else as code, fit for a table."""
    line = _on_one_line(value).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def number(value: float) -> str:
    """``1234`` as ``1,234``."""
    return f"{value:,}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; columns whose name begins with ``#`` hold numbers."""
    names = [column.removeprefix("#") for column in columns]
    rules = ["---:" if column.startswith("#") else "---" for column in columns]
    return [_row(names), _row(rules), *(_row(row) for row in rows), ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _on_one_line(value: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in value)
    return line if len(line) <= _MAX_CELL else f"{line[: _MAX_CELL - 1]}…"
