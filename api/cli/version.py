"""`poststream version`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.terminal import PROGRAM, print_data, print_json
from api.versions import installed_version


def command(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the version."""
    import platform

    found = installed_version()
    if json:
        print_json(
            {
                "version": found,
                "python": platform.python_version(),
                "platform": platform.platform(),
            }
        )
    else:
        print_data(f"{PROGRAM} {found}")
