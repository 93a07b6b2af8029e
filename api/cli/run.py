"""`poststream run`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api.cli.agents import SERVER, TOKEN


class Mode(StrEnum):
    """In which order agents run."""

    sequential = "sequential"
    parallel = "parallel"
    graph = "graph"


Description = Annotated[
    str, typer.Argument(metavar="DESCRIPTION", help="What to do, in words for the agents.")
]
Agents = Annotated[
    list[str], typer.Option("--agents", "-a", metavar="A,B", help="Who does it, in this order.")
]
Order = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        metavar="sequential|parallel|graph",
        help="One after another (default), at once, or as a graph.",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="KEY=VALUE",
        help="An input for the agents. A value like . or ./x or ~/x becomes an absolute path.",
    ),
]
InputJson = Annotated[
    str | None, typer.Option(metavar="OBJECT", help="All inputs as one JSON object.")
]
DependsOn = Annotated[
    list[str] | None,
    typer.Option(metavar="A=B,C", help="Agent A starts when B and C have delivered."),
]
Timeout = Annotated[
    str | None, typer.Option(metavar="TIME", help="Active time it may take, e.g. 90, 15m.")
]
Title = Annotated[
    str | None, typer.Option(metavar="TITLE", help="Else the first line of DESCRIPTION.")
]
Output = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Save artifacts there, by agent.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the events as lines of JSON.")]


def command(
    description: Description,
    agents: Agents,
    mode: Order = None,
    input: Input = None,
    input_json: InputJson = None,
    depends_on: DependsOn = None,
    timeout: Timeout = None,
    title: Title = None,
    server: Annotated[str | None, SERVER] = None,
    token: Annotated[str | None, TOKEN] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Run agents and watch them: in this process, or on a server.

    Without a server nothing is kept: the database is a temporary one, the data folder is not
    touched, and Ctrl-C cancels the task. On a server the task goes on when you leave.
    """
    from api.cli.connection import connection
    from api.cli.request import request_body

    where = connection(server, token)
    body = request_body(
        description=description, agents=agents, mode=mode and mode.value, inputs=input or [],
        inputs_json=input_json, depends_on=depends_on or [], timeout=timeout, title=title,
    )  # fmt: skip
    if where is None:
        from api.cli.here import watch_here

        status = watch_here(body, json=json, folder=output)
    else:
        from api.cli.there import watch_server

        status = watch_server(
            lambda client: client.submit_stream(body), *where, json=json, folder=output
        )
    raise typer.Exit(status)
