"""`poststream run` on a server, whose task goes on when we leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from api.cli.board import Board
from api.cli.interrupts import on_interrupt
from api.cli.request import in_words_of_options
from api.cli.showing import make_view, show_events, show_report, status_of
from api.cli.sources import Source
from api.cli.terminal import CommandFailed, Status, say
from api.cli.views import View
from api.client import Client, ClientError, ServerError, TaskStream
from api.task_stream import StreamedEvent, task_path
from orchestrator.errors import FieldError


def watch_server(
    start: Callable[[Client], TaskStream],
    server: str,
    token: str,
    *,
    json: bool,
    folder: Path | None,
) -> Status:
    """Watch a task on a server; the first Ctrl-C leaves it alone.

    Args:
        start: Starts the task, or finds it.
        server: Address.
        token: What it is shown.
        json: Whether events are printed as JSON.
        folder: Where artifacts are saved; None for nowhere.

    Returns:
        How it ended, as an exit status.

    Raises:
        CommandFailed: The server cannot be reached, or refuses.
    """
    try:
        return asyncio.run(_watch_server(start, server, token, json=json, folder=folder))
    except ServerError as error:
        fields = [in_words_of_options(FieldError(e["pointer"], e["detail"])) for e in error.errors]
        raise CommandFailed("\n".join(fields or [error.detail]), Status.REFUSED) from None
    except ClientError as error:
        raise CommandFailed(str(error), Status.REFUSED) from None


async def _watch_server(
    start: Callable[[Client], TaskStream],
    server: str,
    token: str,
    *,
    json: bool,
    folder: Path | None,
) -> Status:
    board = Board(asyncio.get_running_loop().time())
    view = make_view(board, json=json, hint="Ctrl-C leaves; the task goes on.")

    def lost(reason: str, seconds: float) -> None:
        view.note(f"Connection lost ({reason}); trying again in {seconds:g} s.", passing=True)

    with contextlib.closing(view):
        async with (
            Client(server, token, on_lost=lost) as client,
            start(client) as stream,
        ):
            source = ServerSource(client, stream)
            if not await _show_unless_left(source, board, view):
                view.close()
                say(source.how_to_return())
                return Status.INTERRUPTED
            await show_report(source, board, view, json=json, folder=folder)
    return status_of(board)


async def _show_unless_left(source: Source, board: Board, view: View) -> bool:
    """Show the task to its end; False when Ctrl-C came before it."""
    showing = asyncio.create_task(show_events(source, board, view))

    def leave() -> None:
        showing.cancel()

    with on_interrupt(leave, leaving=view.close):
        await asyncio.wait([showing])
    if showing.cancelled():
        return False
    showing.result()
    return True


class ServerSource:
    """A task on a server, which goes on when we leave."""

    def __init__(self, client: Client, stream: TaskStream) -> None:
        self._client = client
        self._stream = stream

    def events(self) -> AsyncIterator[StreamedEvent]:
        """Its events until it has ended; raises `ClientError`."""
        return self._stream

    async def save(self, role: str, name: str, file: BinaryIO) -> None:
        """Write an artifact to a file; raises `ClientError`."""
        await self._client.download(self._stream.task_id, role, name, file)

    def how_to_return(self) -> str:
        """What to type to see the rest, or to stop it."""
        if not self._stream.task_id:
            return "The server had not answered yet; it may have started the task all the same."
        path = f"{self._client.server}{task_path(self._stream.task_id)}"
        curl = 'curl -H "Authorization: Bearer $POSTSTREAM_TOKEN"'
        cursor = f"-H 'Last-Event-ID: {self._stream.last_event_id}' "
        return (
            f"The task goes on. To see the rest:\n\n{curl} -N {cursor}{path}/stream\n\n"
            f"To cancel it:\n\n{curl} -X POST {path}/cancel\n"
        )


_conforms: type[Source] = ServerSource
