"""What commands share that ask a running server something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from api.cli.connection import connection
from api.cli.terminal import CommandFailed, Status, clean, make_console, one_line, usage_error

if TYPE_CHECKING:
    from api.client import Client

T = TypeVar("T")


def server_of(server: str | None, token: str | None) -> tuple[str, str]:
    """The server a command needs, and the token for it.

    Raises:
        CommandFailed: None is named.
    """
    where = connection(server, token)
    if where is None:
        raise usage_error("Name a server: --server or POSTSTREAM_SERVER.")
    return where


def ask(server: str | None, token: str | None, question: Callable[[Client], Awaitable[T]]) -> T:
    """Ask a server.

    Args:
        server: `--server`.
        token: `--token`.
        question: What is asked.

    Raises:
        CommandFailed: No server is named, it cannot be reached, or it refuses.
    """
    return ask_at(*server_of(server, token), question)


def ask_at(address: str, token: str, question: Callable[[Client], Awaitable[T]]) -> T:
    """As `ask`, for a server that is known."""
    import asyncio

    from api.client import Client, ClientError, ServerError

    async def asking() -> T:
        async with Client(address, token) as client:
            return await question(client)

    try:
        return asyncio.run(asking())
    except ServerError as error:
        fields = [f"{e['pointer']}: {e['detail']}" for e in error.errors]
        raise CommandFailed("\n".join(fields or [error.detail]), Status.REFUSED) from None
    except ClientError as error:
        raise CommandFailed(str(error), Status.REFUSED) from None


def with_query(path: str, parameters: Mapping[str, Any]) -> str:
    """A path with those parameters that are set."""
    given = {name: _text(value) for name, value in parameters.items() if value not in (None, False)}
    return f"{path}?{urlencode(given)}" if given else path


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings, without anything that moves the cursor."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(one_line(clean(str(cell))) for cell in row))
    make_console(wide=True).print(table)


def _text(value: object) -> str:
    return "true" if value is True else str(value)
