"""`poststream runner …`: the worker loop of a running server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.tasks import Json, Server, Token
from api.cli.terminal import clean, one_line, print_data, print_json, print_line, say

if TYPE_CHECKING:
    from api.client import Client

PATH = "/api/task-runner"
DELAYS = (1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds before each attempt to come back to the log; after the last one it is given up."""


def status(server: Server = None, token: Token = None, json: Json = False) -> None:
    """How the loop is."""
    _show(_call("GET", "status", server, token), json=json)


def start(server: Server = None, token: Token = None, json: Json = False) -> None:
    """Let the loop claim tasks again, as an admin."""
    _show(_call("POST", "start", server, token), json=json)


def stop(
    now: Annotated[
        bool, typer.Option("--now", help="Hand running tasks back to the queue.")
    ] = False,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Let the loop claim nothing more, as an admin; what runs may end."""
    _show(_call("POST", "stop?mode=now" if now else "stop", server, token), json=json)


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    server: Server = None,
    token: Token = None,
    json: Annotated[bool, typer.Option("--json", help="Print lines of JSON.")] = False,
) -> None:
    """The log of the loop: who started and stopped it, what it does with which task."""
    from api.cli.asking import ask

    async def show_live(client: Client) -> None:
        async for line in _live(client):
            _print(line, json=json)

    if follow:
        try:
            ask(server, token, show_live)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        return
    for line in _call("GET", "logs-history", server, token)["logs"]:
        _print(line, json=json)


def _call(method: str, name: str, server: str | None, token: str | None) -> dict[str, Any]:
    from api.cli.asking import ask

    return dict(ask(server, token, lambda client: client.call(method, f"{PATH}/{name}")))


def _show(found: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(found)
        return
    running, waiting = found["runningTasks"], found["queuedTasks"]
    print_data(
        f"{found['state']} since {found['since'][:19]}: {running} of {found['slots']} slots in use,"
        f" {waiting} waiting"
    )
    if "lastError" in found:
        print_data(f"failed the last time with {one_line(clean(found['lastError']))}")


def _print(line: dict[str, Any], *, json: bool) -> None:
    if json:
        import orjson

        print_line(orjson.dumps(line))
    else:
        words = one_line(clean(line["message"]))
        print_data(f"{line['timestamp']}  {line['thread']:3}  {line['type']:7}  {words}")


async def _live(client: Client) -> AsyncIterator[dict[str, Any]]:
    """The lines of the log as they come, over lost connections.

    Raises:
        ClientError: The server refuses, or stays away.
    """
    import orjson

    from api.client import Unreachable
    from api.sse_reader import SseReader
    from api.task_stream import ConnectionLost

    cursor, failures = "", 0
    while True:
        try:
            response = await client.open(
                "GET", f"{PATH}/logs", {"Last-Event-ID": cursor} if cursor else {}
            )
            try:
                if response.status_code != 200:
                    raise await client.error_of(response)
                reader = SseReader()
                async for piece in client.pieces(response):
                    for message in reader.feed(piece):
                        cursor, failures = message.id or cursor, 0
                        yield orjson.loads(message.data)
            finally:
                await response.aclose()
            reason = "the stream ended"
        except ConnectionLost as error:
            reason = str(error)
        if failures == len(DELAYS) or not cursor:
            raise Unreachable(f"{client.server} cannot be reached: {reason}")
        say(f"Connection lost ({reason}); trying again in {DELAYS[failures]:g} s.")
        await asyncio.sleep(DELAYS[failures])
        failures += 1
