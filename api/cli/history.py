"""`poststream history`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.tasks import Json, Limit, Server, Token
from api.cli.terminal import print_json, say


def command(
    status: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only with one of these statuses.")
    ] = None,
    type: Annotated[
        str | None, typer.Option(metavar="manual|scheduled|api", help="Only of this type.")
    ] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's, as an admin.")] = False,
    limit: Limit = 50,
    offset: Annotated[int, typer.Option(metavar="N", help="Leave out so many.", min=0)] = 0,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """What has run, newest first: how it ended, how long it took, what it cost."""
    from api.cli.asking import ask, print_table, with_query
    from api.cli.views import duration

    parameters = {
        "status": status, "jobType": type, "archived": archived,
        "scope": "all" if everybody else None, "limit": limit, "offset": offset,
    }  # fmt: skip
    path = with_query("/api/jobs/history", parameters)
    found = ask(server, token, lambda client: client.call("GET", path))
    if json:
        print_json(found)
        return
    rows = []
    for job in found["jobs"]:
        summary, metrics = job["executionSummary"], job["performanceMetrics"]
        took = duration(metrics["totalExecutionTime"] / 1000)
        agents = f"{summary['agentsCompleted']}/{len(job['phaseResults'])}"
        rows.append(
            (job["taskId"], job["status"], agents, took, job["createdAt"][:19], job["title"])
        )
    print_table(("task", "status", "agents", "took", "created", "title"), rows)
    if found["totalCount"] > offset + len(rows):
        say(f"{found['totalCount']} in all; --offset {offset + len(rows)} shows more.")
