"""`poststream settings`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.terminal import make_console, print_json


def command(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting: value, origin and effect."""
    from api.settings import Settings
    from orchestrator.settings import describe_settings

    rows = describe_settings(Settings())
    if json:
        print_json([row._asdict() for row in rows])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "value", "unit", "from", "default", "what it does"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("name", "unit", "from"))
    for row in rows:
        changed = row.origin != "default"
        table.add_row(
            row.name, row.value, row.unit, row.origin, row.default if changed else "", row.help,
            style="bold" if changed else None,
        )  # fmt: skip
    console = make_console(wide=True)
    console.print(table)
    if console.is_terminal:
        console.print("\nSet them as POSTSTREAM_<name>, in .env, or as <name> in poststream.toml.")
