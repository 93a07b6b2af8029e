"""Runs a task for `poststream run`: shows its events, then its report, and knows how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.cli.board import Board
from api.cli.interrupts import on_interrupt
from api.cli.report import print_report, save_artifacts
from api.cli.request import in_words_of_options
from api.cli.sources import ServerSource, Source, run_here
from api.cli.terminal import (
    NO_AGENTS,
    CommandFailed,
    Status,
    complain,
    make_console,
    say,
    usage_error,
)
from api.cli.views import JsonView, LinesView, TableView, View
from api.client import Client, ClientError, ServerError
from api.leaving import end_or_leave
from api.logs import configure_logging
from api.team import load_registry
from orchestrator.agents import AgentRegistry
from orchestrator.errors import FieldError, InvalidRequest
from orchestrator.settings import RuntimeSettings
from orchestrator.tasks import TaskStatus


def watch_here(body: Mapping[str, Any], *, json: bool, folder: Path | None) -> Status:
    """Run a task in this process; the first Ctrl-C cancels it.

    Returns:
        How it ended, as an exit status.

    Raises:
        CommandFailed: The request makes no sense.
    """
    registry = load_registry(RuntimeSettings())
    _check_agents(body["selectedAgents"], registry)
    try:
        board = asyncio.run(_watch_here(body, registry, json=json, folder=folder))
    except InvalidRequest as error:
        raise usage_error("\n".join(map(in_words_of_options, error.errors))) from None
    return _status(board)


def watch_server(
    body: Mapping[str, Any], server: str, token: str, *, json: bool, folder: Path | None
) -> Status:
    """Run a task on a server; the first Ctrl-C leaves it alone.

    Returns:
        How it ended, as an exit status.

    Raises:
        CommandFailed: The server cannot be reached, or refuses.
    """
    try:
        return asyncio.run(_watch_server(body, server, token, json=json, folder=folder))
    except ServerError as error:
        fields = [in_words_of_options(FieldError(e["pointer"], e["detail"])) for e in error.errors]
        raise CommandFailed("\n".join(fields or [error.detail]), Status.REFUSED) from None
    except ClientError as error:
        raise CommandFailed(str(error), Status.REFUSED) from None


async def _watch_here(
    body: Mapping[str, Any], registry: AgentRegistry, *, json: bool, folder: Path | None
) -> Board:
    board = Board(asyncio.get_running_loop().time())
    view = _view(board, json=json, hint="Ctrl-C cancels.")
    configure_logging(json=False)
    logging.getLogger().setLevel(logging.WARNING)
    with contextlib.closing(view):
        async with run_here(body, registry) as source:
            cancels: list[asyncio.Task[None]] = []

            def cancel() -> None:
                cancels.append(asyncio.create_task(source.cancel()))
                view.note("Cancelling … Ctrl-C again leaves at once.")

            with on_interrupt(cancel, leaving=view.close):
                await _show(source, board, view)
                await asyncio.gather(*cancels)
                await _report(source, board, view, json=json, folder=folder)
    await end_or_leave(_status(board))
    return board


async def _watch_server(
    body: Mapping[str, Any], server: str, token: str, *, json: bool, folder: Path | None
) -> Status:
    board = Board(asyncio.get_running_loop().time())
    view = _view(board, json=json, hint="Ctrl-C leaves; the task goes on.")

    def lost(reason: str, seconds: float) -> None:
        view.note(f"Connection lost ({reason}); trying again in {seconds:g} s.", passing=True)

    with contextlib.closing(view):
        async with (
            Client(server, token, on_lost=lost) as client,
            client.submit_stream(body) as stream,
        ):
            source = ServerSource(client, stream)
            if not await _show_unless_left(source, board, view):
                view.close()
                say(source.how_to_return())
                return Status.INTERRUPTED
            await _report(source, board, view, json=json, folder=folder)
    return _status(board)


async def _show_unless_left(source: Source, board: Board, view: View) -> bool:
    """Show the task to its end; False when Ctrl-C came before it."""
    showing = asyncio.create_task(_show(source, board, view))

    def leave() -> None:
        showing.cancel()

    with on_interrupt(leave, leaving=view.close):
        await asyncio.wait([showing])
    if showing.cancelled():
        return False
    showing.result()
    return True


async def _show(source: Source, board: Board, view: View) -> None:
    loop = asyncio.get_running_loop()
    async for event in source.events():
        board.take(event, loop.time())
        view.show(event)


async def _report(
    source: Source, board: Board, view: View, *, json: bool, folder: Path | None
) -> None:
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


def _view(board: Board, *, json: bool, hint: str) -> View:
    if json:
        return JsonView()
    console = make_console()
    return TableView(board, console, hint=hint) if console.is_terminal else LinesView(board)


def _check_agents(roles: list[str], registry: AgentRegistry) -> None:
    """Say more about an agent that is not there than a server would.

    Raises:
        CommandFailed: One is not there, or cannot be used.
    """
    if not len(registry):
        raise usage_error(NO_AGENTS)
    for role in roles:
        if role not in registry:
            names = ", ".join(registration.agent.role for registration in registry)
            raise usage_error(f"--agents {role}: there is no such agent; there are {names}.")
        if (reason := registry[role].unavailable) is not None:
            raise usage_error(f"--agents {role}: unavailable: {reason}.")


def _status(board: Board) -> Status:
    match board.status:
        case TaskStatus.COMPLETED:
            return Status.DONE
        case TaskStatus.CANCELLED:
            return Status.CANCELLED
        case _:
            return Status.FAILED
