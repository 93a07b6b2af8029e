"""What both ways of running a task share: its events go to a board and a view, then the report."""

from __future__ import annotations

import asyncio
from pathlib import Path

from api.cli.board import Board
from api.cli.report import print_report, save_artifacts
from api.cli.sources import Source
from api.cli.terminal import Status, complain, make_console, say
from api.cli.views import JsonView, LinesView, TableView, View
from orchestrator.tasks import TaskStatus


def make_view(board: Board, *, json: bool, hint: str) -> View:
    """The view that fits stdout: JSON if it is wanted, a table on a terminal, else lines.

    Args:
        board: What the view shows.
        json: Whether JSON is wanted.
        hint: What Ctrl-C does.
    """
    if json:
        return JsonView()
    console = make_console()
    return TableView(board, console, hint=hint) if console.is_terminal else LinesView(board)


async def show_events(source: Source, board: Board, view: View) -> None:
    """Show a task until it has ended."""
    loop = asyncio.get_running_loop()
    async for event in source.events():
        board.take(event, loop.time())
        view.show(event)


async def show_report(
    source: Source, board: Board, view: View, *, json: bool, folder: Path | None
) -> None:
    """Show what came of it, after saving its artifacts to a folder if there is one."""
    view.close()
    saved: dict[tuple[str, str], Path] = {}
    if folder is not None:
        async for role, name, path in save_artifacts(board, source, folder):
            saved[role, name] = path
            if json:
                say(f"saved {path}")
    if not json:
        print_report(board, saved, make_console())
    elif board.error:
        complain(board.error)


def status_of(board: Board) -> Status:
    """How the task ended, as an exit status."""
    match board.status:
        case TaskStatus.COMPLETED:
            return Status.DONE
        case TaskStatus.CANCELLED:
            return Status.CANCELLED
        case _:
            return Status.FAILED
