"""What is said of a task when it has ended: texts, artifacts, errors."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from api.cli.board import Board, Row
from api.cli.sources import Source
from api.cli.terminal import CommandFailed, clean, one_line
from api.cli.views import duration
from orchestrator.errors import AgentError
from orchestrator.progress import check_artifact_name
from orchestrator.tasks import TaskStatus

MAX_LINES = 40  # of one agent on a terminal: the end of the report should stay in sight
MAX_JSON_CHARACTERS = 600


def print_report(board: Board, saved: dict[tuple[str, str], Path], console: Console) -> None:
    """Print the texts of the agents, what they made, and how it ended.

    Args:
        board: The task.
        saved: Where artifacts were saved, by role and name.
        console: On a terminal, long texts are cut.
    """
    if console.is_terminal:
        console.print()
    for row in board.rows.values():
        if text := _text(row, alone=len(board.rows) == 1):
            console.print(Rule(Text(row.role), align="left", characters="─"))
            _print_text(text, console)
    for row in board.rows.values():
        for name, size in row.artifacts.items():
            where = saved.get((row.role, name))
            arrow = f" → {where}" if where else ""
            console.print(Text(f"{row.role}/{name}  {_size(size)}{arrow}"), soft_wrap=True)
    for row in board.rows.values():
        if row.role in board.failed and console.is_terminal:  # the table had less room for it
            console.print(Text(f"✗ {row.role}: {one_line(row.error)}", "red"), soft_wrap=True)
    console.print(_verdict(board), soft_wrap=True)


async def save_artifacts(
    board: Board, source: Source, folder: Path
) -> AsyncIterator[tuple[str, str, Path]]:
    """Save all artifacts as ``folder/role/name``; a file is there whole or not at all.

    Yields:
        Role, name and path of each.

    Raises:
        CommandFailed: A server named an artifact so that it would lead elsewhere.
        OSError: It cannot be written.
    """
    for row in board.rows.values():
        for name in row.artifacts:
            path = folder / _plain(row.role) / _plain(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.part")
            try:
                with draft.open("wb") as file:
                    await source.save(row.role, name, file)
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)
            yield row.role, name, path


def _plain(name: str) -> str:
    try:
        check_artifact_name(name)
    except AgentError as error:
        raise CommandFailed(f"Not saved: {error}.") from None
    return name


def _text(row: Row, *, alone: bool) -> str:
    if row.text:
        return clean("".join(row.text)).strip("\n")
    if row.output is None or not alone:  # in a team JSON is what agents hand to each other
        return ""
    text = orjson.dumps(row.output, option=orjson.OPT_INDENT_2).decode()
    return text if len(text) <= MAX_JSON_CHARACTERS else ""


def _print_text(text: str, console: Console) -> None:
    lines = text.split("\n")
    left = len(lines) - MAX_LINES
    if console.is_terminal and left > 0:
        console.print(Text("\n".join(lines[:MAX_LINES])))
        console.print(Text(f"… {left} more lines; add | less to see them all", "dim"))
    else:
        console.print(Text(text), soft_wrap=True)


def _verdict(board: Board) -> Text:
    took = duration(board.seconds or 0.0)
    if board.status == TaskStatus.COMPLETED:
        without = f", without {', '.join(board.failed)}" if board.failed else ""
        return Text(f"Done in {took}{without}.", "green" if not board.failed else "yellow")
    word = "Cancelled" if board.status == TaskStatus.CANCELLED else "Failed"
    text = f"{word} after {took}: {one_line(board.error)}"
    if board.not_stopped:
        text += f" Not stopped: {', '.join(board.not_stopped)}."
    return Text(text, "yellow" if board.status == TaskStatus.CANCELLED else "red")


def _size(bytes: int) -> str:
    if bytes < 1024:
        return f"{bytes} bytes"
    kib = bytes / 1024
    return f"{kib:.1f} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB"
