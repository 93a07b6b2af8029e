"""`poststream recover`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.tasks import Json, Server, Token
from api.cli.terminal import CommandFailed, Status, print_data, print_json, usage_error

if TYPE_CHECKING:
    from api.settings import Settings
    from orchestrator.errors import StorageLocked


def command(
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only tasks silent for so long, e.g. 5m.")
    ] = None,
    fail: Annotated[bool, typer.Option("--fail", help="End them as failed (default).")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Put them back into the queue.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    server: Server = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Take over tasks whose run is gone.

    A running server is asked, the one of --server or the one that holds the data folder; it never
    touches a task that runs. Without one the database is opened here.
    """
    from api.cli.connection import connection
    from api.cli.durations import seconds_of

    if fail and resume:
        raise usage_error("--fail and --resume exclude each other.")
    body = {
        "action": "resume" if resume else "fail",
        "olderThanSeconds": 0 if older_than is None else seconds_of(older_than, "--older-than"),
        "dryRun": dry_run,
    }
    where = connection(server, token)
    found = _here(body) if where is None else _there(*where, body)
    if json:
        print_json(found)
        return
    verb = "would become" if dry_run else "is now"
    for entry in found["reset"]:
        print_data(f"{entry['taskId']} was {entry['from']} and {verb} {entry['to']}.")
    if not found["reset"]:
        print_data("No task is lost.")


def _there(address: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
    from api.cli.asking import ask_at

    return dict(ask_at(address, token, lambda c: c.call("POST", "/api/agents/reset-state", body)))


def _here(body: dict[str, Any]) -> dict[str, Any]:
    """Open the database, or ask whoever has it open."""
    from api.settings import Settings
    from orchestrator.errors import StorageLocked

    settings = Settings()
    try:
        return _in_process(settings, body)
    except StorageLocked as error:
        return _there(*_holder(settings, error), body)


def _in_process(settings: Settings, body: dict[str, Any]) -> dict[str, Any]:
    import asyncio

    from orchestrator.runtime.assembly import recover_offline

    path = settings.database_path
    if path is None or not path.exists():
        return {"reset": [], "skipped": 0}
    reset, skipped = asyncio.run(
        recover_offline(
            settings, path, action=body["action"], dry_run=body["dryRun"],
            older_than_seconds=body["olderThanSeconds"],
        )
    )  # fmt: skip
    entries = [
        {"taskId": r.task_id, "title": r.title, "from": r.from_status, "to": r.to_status}
        for r in reset
    ]
    return {"reset": entries, "skipped": skipped}


def _holder(settings: Settings, error: StorageLocked) -> tuple[str, str]:
    """The server that holds the database, and a token it accepts."""
    from api.cli.signing import sign

    made = sign(settings, subject="poststream recover", scopes=["admin"], ttl_seconds=60)
    if not error.address or made is None:
        raise CommandFailed(str(error), Status.REFUSED)
    return error.address, made
