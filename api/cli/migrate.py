"""`poststream migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.terminal import print_data, print_json


def command(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the database to this version, as a server does when it starts."""
    from orchestrator.settings import RuntimeSettings
    from orchestrator.store.database import Database
    from orchestrator.store.migrations import migrate

    path = RuntimeSettings().database_path
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(path)
    try:
        before, now = migrate(database)
    finally:
        database.close()
    if json:
        print_json({"database": str(database.path), "before": before, "now": now})
    elif before == now:
        print_data(f"{database.path} is at revision {now}; there was nothing to do.")
    else:
        print_data(f"{database.path} went from {before or 'nothing'} to revision {now}.")
