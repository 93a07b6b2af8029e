"""`poststream agents`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli.terminal import NO_AGENTS, CommandFailed, Status, clean, make_console, print_json, say

SERVER = typer.Option(
    metavar="URL", help="Address of a server (POSTSTREAM_SERVER); '' for this machine alone."
)
TOKEN = typer.Option(metavar="JWT", help="Token for the server; better kept in POSTSTREAM_TOKEN.")


def command(
    server: Annotated[str | None, SERVER] = None,
    token: Annotated[str | None, TOKEN] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the agents: those of the agents file, or those of a server."""
    from api.cli.connection import connection

    where = connection(server, token)
    agents = _local() if where is None else _remote(*where)
    if json:
        print_json({"agents": agents})
        return
    if not agents:
        say(NO_AGENTS if where is None else f"{where[0]} has no agents.")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("role", "name", "kind", "what it does"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("role", "kind"))
    for agent in agents:
        usable = agent.get("available", True)
        words = agent["agentDescription"] if usable else agent.get("unavailableReason", "")
        table.add_row(
            clean(agent["agentRole"]), clean(agent["agentName"]), clean(agent.get("kind", "")),
            clean(words if usable else f"unavailable: {words}"),
            style=None if usable else "dim",
        )  # fmt: skip
    make_console(wide=True).print(table)


def _local() -> list[dict[str, Any]]:
    from api.team import load_registry
    from orchestrator.settings import RuntimeSettings

    return [registration.listed() for registration in load_registry(RuntimeSettings())]


def _remote(server: str, token: str) -> list[dict[str, Any]]:
    import asyncio

    from api.client import Client, ClientError

    async def ask() -> list[dict[str, Any]]:
        async with Client(server, token) as client:
            return await client.agents()

    try:
        return asyncio.run(ask())
    except ClientError as error:
        raise CommandFailed(str(error), Status.REFUSED) from None
