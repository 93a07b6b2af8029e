"""`poststream tasks …`: tasks of a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.agents import SERVER, TOKEN
from api.cli.terminal import clean, one_line, print_data, print_json, print_line

if TYPE_CHECKING:
    from api.client import Client

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task.")]
Server = Annotated[str | None, SERVER]
Token = Annotated[str | None, TOKEN]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(metavar="N", help="At most so many.", min=1, max=200)]
EVENTS = 1000  # in one page of a log


def ls(
    status: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only with one of these statuses.")
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="ROLE", help="Only with this agent.")] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="WORDS", help="Only with these words.")
    ] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only stuck ones.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's, as an admin.")] = False,
    limit: Limit = 50,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List tasks, newest first."""
    from api.cli.asking import ask, print_table, with_query

    parameters = {
        "status": status, "agent": agent, "q": text, "stuck": stuck, "archived": archived,
        "scope": "all" if everybody else None, "limit": limit,
    }  # fmt: skip
    found = ask(server, token, lambda c: c.call("GET", with_query("/api/tasks", parameters)))
    if json:
        print_json(found)
        return
    rows = [
        (t["taskId"], _status(t), f"{t['progress']:.0%}", t["createdAt"][:19], t["title"])
        for t in found["tasks"]
    ]
    print_table(("task", "status", "done", "created", "title"), rows)


def show(id: TaskId, server: Server = None, token: Token = None, json: Json = False) -> None:
    """Show a task: its agents, how they stand, what went wrong."""
    from api.cli.asking import ask, print_table

    found = ask(server, token, lambda client: client.snapshot(id))
    if json:
        print_json(found)
        return
    print_data(f"{found['taskId']}  {_status(found)}  {one_line(clean(found['title']))}")
    if "error" in found:
        print_data(f"{found['code']}: {one_line(clean(found['error']))}")
    rows = [
        (a["agentRole"], a["status"], a["attempt"], a.get("error") or a.get("message", ""))
        for a in found["agents"]
    ]
    print_table(("agent", "status", "attempt", ""), rows)


def events(
    id: TaskId,
    after: Annotated[int, typer.Option(metavar="N", help="Only behind this event.", min=0)] = 0,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print the log of a task as far as it is there, a line for each event."""
    from api.cli.asking import ask
    from api.task_stream import task_path

    def show_page(page: list[dict[str, Any]]) -> None:
        import orjson

        from api.cli.views import words_of

        for event in page:
            if json:
                print_line(orjson.dumps(event))
            else:
                words = words_of(event["type"], event) or event["type"]
                print_data(f"{event['seq']:6}  {event['timestamp']}  {words}")

    async def read(client: Client) -> None:
        cursor = after
        while True:
            path = f"{task_path(id)}/events?after={cursor}&limit={EVENTS}"
            page = await client.call("GET", path)
            show_page(page["events"])
            if not page["events"] or page["events"][-1]["seq"] >= page["lastEventId"]:
                return
            cursor = page["events"][-1]["seq"]

    ask(server, token, read)


def follow(
    id: TaskId,
    after: Annotated[int, typer.Option(metavar="N", help="Only behind this event.", min=0)] = 0,
    server: Server = None,
    token: Token = None,
    json: Annotated[bool, typer.Option("--json", help="Print the events as lines.")] = False,
) -> None:
    """Watch a task to its end; leaves with its status, as `run` does."""
    from api.cli.asking import server_of
    from api.cli.there import watch_server

    status = watch_server(
        lambda client: client.follow(id, after=after), *server_of(server, token), json=json,
        folder=None,
    )  # fmt: skip
    raise typer.Exit(status)


def cancel(id: TaskId, server: Server = None, token: Token = None, json: Json = False) -> None:
    """Cancel a task."""
    _control(id, lambda client: client.cancel(id), server, token, json=json)


def pause(
    id: TaskId,
    now: Annotated[bool, typer.Option("--now", help="Stop the agents that run, too.")] = False,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Pause a task between two agents."""
    _control(id, lambda client: client.pause(id, stop_now=now), server, token, json=json)


def resume(id: TaskId, server: Server = None, token: Token = None, json: Json = False) -> None:
    """Let a paused task go on."""
    _control(id, lambda client: client.resume(id), server, token, json=json)


def retry(id: TaskId, server: Server = None, token: Token = None, json: Json = False) -> None:
    """Run again what did not complete."""
    _control(id, lambda client: client.retry(id), server, token, json=json)


def rm(id: TaskId, server: Server = None, token: Token = None, json: Json = False) -> None:
    """Delete a finished task."""
    from api.cli.asking import ask
    from api.task_stream import task_path

    ask(server, token, lambda client: client.call("DELETE", task_path(id)))
    if json:
        print_json({"taskId": id, "deleted": True})
    else:
        print_data(f"{id} is deleted.")


def _control(id: str, act: Any, server: str | None, token: str | None, *, json: bool) -> None:
    from api.cli.asking import ask

    status = ask(server, token, act)
    if json:
        print_json({"taskId": id, "status": status})
    else:
        print_data(f"{id} is {status}.")


def _status(task: dict[str, Any]) -> str:
    return f"{task['status']}, stuck" if task["stuck"] else str(task["status"])
