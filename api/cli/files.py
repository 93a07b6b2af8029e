"""`poststream export` and `poststream artifacts …`: files of tasks of a running server."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from api.cli.tasks import Json, Server, TaskId, Token
from api.cli.terminal import print_json, say, usage_error

if TYPE_CHECKING:
    from api.client import Client

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, not to stdout.")
]


class Format(StrEnum):
    """What an export is."""

    jsonl = "jsonl"
    md = "md"
    zip = "zip"


def export(
    id: TaskId,
    format: Annotated[
        Format,
        typer.Option(
            metavar="jsonl|md|zip", help="The log as lines, a report, or everything with all files."
        ),
    ] = Format.jsonl,
    output: Output = None,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Keep a task as a file."""
    from api.task_stream import task_path

    path = f"{task_path(id)}/export?format={format.value}"
    _save(lambda client, file: client.fetch(path, file), output, server, token, json=json)


def ls(id: TaskId, server: Server = None, token: Token = None, json: Json = False) -> None:
    """List the files that agents made."""
    from api.cli.asking import ask, print_table
    from api.task_stream import task_path

    found = ask(server, token, lambda client: client.call("GET", f"{task_path(id)}/artifacts"))
    if json:
        print_json(found)
        return
    rows = [(a["agentRole"], a["name"], a["mediaType"], a["size"]) for a in found["artifacts"]]
    print_table(("agent", "name", "type", "bytes"), rows)


def get(
    id: TaskId,
    role: Annotated[str, typer.Argument(metavar="AGENT", help="Whose file.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    output: Output = None,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Fetch a file that an agent made."""
    _save(
        lambda client, file: client.download(id, role, name, file), output, server, token, json=json
    )


def _save(
    fetch: Callable[[Client, BinaryIO], Awaitable[int]],
    output: Path | None,
    server: str | None,
    token: str | None,
    *,
    json: bool,
) -> None:
    """Write to stdout or to a file, which is there whole or not at all."""
    from api.cli.asking import ask

    if output is None:
        if json:
            raise usage_error("--json says what was written: it needs --output.")
        out = sys.stdout.buffer
        ask(server, token, lambda client: fetch(client, out))
        out.flush()
        return
    draft = output.with_name(f".{output.name}.part")
    try:
        with draft.open("wb") as file:
            size = ask(server, token, lambda client: fetch(client, file))
        os.replace(draft, output)
    finally:
        draft.unlink(missing_ok=True)
    if json:
        print_json({"file": str(output), "size": size})
    else:
        say(f"{output}: {size} bytes")
