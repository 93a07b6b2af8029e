"""How a running task is shown: as JSON lines, as plain lines, or as a table that lives."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api.cli.board import Board, Row
from api.cli.terminal import clean, one_line, print_data, print_line, say
from api.task_stream import StreamedEvent
from orchestrator.tasks import AgentStatus

REFRESH_SECONDS = 0.1

_SIGNS = {
    AgentStatus.PENDING: ("·", "dim"),
    AgentStatus.RUNNING: ("", "cyan"),
    AgentStatus.WAITING: ("?", "yellow"),
    AgentStatus.COMPLETED: ("✓", "green"),
    AgentStatus.ERROR: ("✗", "red"),
    AgentStatus.CANCELLED: ("■", "yellow"),
    AgentStatus.SKIPPED: ("·", "dim"),
}
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class View(Protocol):
    """Shows a task while it runs."""

    def show(self, event: StreamedEvent) -> None:
        """An event came, and the board has taken it."""

    def note(self, text: str, *, passing: bool = False) -> None:
        """Something else happened; a passing note holds until the next event."""

    def close(self) -> None:
        """Nothing more comes; a second call changes nothing."""


class JsonView:
    """The events as they are, one to a line."""

    def show(self, event: StreamedEvent) -> None:
        """Print the event."""
        print_line(event.data.encode())

    def note(self, text: str, *, passing: bool = False) -> None:
        """Say it beside the data."""
        say(text)

    def close(self) -> None:
        """Nothing is held."""


class LinesView:
    """A line for each thing that happens, for files and pipes.

    Args:
        board: What is known.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def show(self, event: StreamedEvent) -> None:
        """Print the event unless it is a piece of text, which the report shows whole."""
        words = words_of(event.type, event.fields)
        if words:
            now = asyncio.get_running_loop().time()
            print_data(f"{now - self._board.began:8.1f} s  {words}")

    def note(self, text: str, *, passing: bool = False) -> None:
        """Say it beside the data."""
        say(text)

    def close(self) -> None:
        """Nothing is held."""


class TableView:
    """A table of the agents that is drawn again and again.

    Args:
        board: What is known.
        console: A terminal.
        hint: What Ctrl-C does.
    """

    def __init__(self, board: Board, console: Console, *, hint: str) -> None:
        self._board = board
        self._hint = hint
        self._passing = ""
        self._loop = asyncio.get_running_loop()
        self._live = Live(
            get_renderable=self._render,
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start(refresh=True)
        self._drawing = asyncio.create_task(self._draw())

    def show(self, event: StreamedEvent) -> None:
        """The next drawing shows it."""
        self._passing = ""

    def note(self, text: str, *, passing: bool = False) -> None:
        """Show it below the table."""
        if passing:
            self._passing = text
        else:
            self._hint = text

    def close(self) -> None:
        """Draw the table a last time and leave it there."""
        if not self._drawing.done():
            self._drawing.cancel()
            self._hint = self._passing = ""
            self._live.transient = not self._board.rows  # nothing came: leave nothing there
            with contextlib.suppress(OSError):
                self._live.stop()

    async def _draw(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def _render(self) -> RenderableType:
        board, now = self._board, self._loop.time()
        seconds = now - board.began if board.seconds is None else board.seconds
        status = board.status.value.replace("_", " ") if board.status else "connecting"
        head = Text.assemble(
            (one_line(board.title), "bold"), ("  " if board.title else ""), status,
            (f"  {duration(seconds)}", "dim"), no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
        table.add_column(width=16)
        table.add_column(justify="right", no_wrap=True, min_width=7)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for row in board.rows.values():
            table.add_row(*_cells(row, now))
        parts: list[RenderableType] = [head, table]
        if hint := self._passing or self._hint:
            parts.append(Text(one_line(hint), "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)


def duration(seconds: float) -> str:
    """Seconds as people read them: ``4.2 s``, ``3:07``, ``2:05:09``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _cells(row: Row, now: float) -> list[RenderableType]:
    sign, style = _SIGNS[row.status]
    running = row.status == AgentStatus.RUNNING
    if running:
        sign = _FRAMES[int(now / REFRESH_SECONDS) % len(_FRAMES)]
    seconds = now - row.began if running else row.seconds
    words = row.error if row.status == AgentStatus.ERROR else row.message
    if row.items_total and running:
        words = f"{row.items_done or 0}/{row.items_total}  {words}"
    if row.attempt > 1:
        words = f"attempt {row.attempt}  {words}"
    bar: RenderableType = ""
    if row.progress is not None and running:
        bar = ProgressBar(total=1.0, completed=row.progress, width=16)
    return [
        Text(sign, style),
        Text(row.role, "dim" if style == "dim" else ""),
        bar,
        Text("" if seconds is None else duration(seconds), "dim"),
        Text(one_line(words), "red" if row.status == AgentStatus.ERROR else ""),
    ]


def words_of(type: str, fields: dict[str, Any]) -> str:
    """What a line says about an event; empty for what is no news."""
    role = fields.get("agentRole", "")
    match type:
        case "task_created":
            return f"task {fields['taskId']}: {one_line(fields['title'])}"
        case "task_state":
            return f"task {fields['state']} ({fields['reason'].replace('_', ' ')})"
        case "agent_start":
            attempt = fields["attempt"]
            return f"{role}: started" + (f", attempt {attempt}" if attempt > 1 else "")
        case "agent_progress":
            return f"{role}: {words}" if (words := _progress_words(fields)) else ""
        case "agent_complete":
            return f"{role}: done in {duration(fields['executionTime'] / 1000)}"
        case "agent_error":
            again = "; trying again" if fields["willRetry"] else ""
            return f"{role}: {fields['status']}: {one_line(fields['error'])}{again}"
    return ""


def _progress_words(fields: dict[str, Any]) -> str:
    parts = []
    if "itemsTotal" in fields:
        parts.append(f"{fields.get('itemsDone', 0)}/{fields['itemsTotal']}")
    elif "progress" in fields:
        parts.append(f"{fields['progress']:.0%}")
    if "message" in fields:
        parts.append(clean(one_line(fields["message"])))
    if "artifact" in fields:
        parts.append(f"saved {fields['artifact']['name']}")
    return " ".join(parts)
