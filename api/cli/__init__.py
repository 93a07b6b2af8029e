"""The command `poststream`.

One file for each group of commands. They import what they need when they are called, because
`poststream version`, `--help` and completion must not wait for a web server to be imported.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from api.cli import agents, migrate, run, serve, settings, token, version
from api.cli.terminal import PROGRAM, CommandFailed, Status, complain
from orchestrator.errors import CatalogError, InvalidRequest, PoststreamError, SettingsError

COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve.command,
    "run": run.command,
    "agents": agents.command,
    "token": token.command,
    "settings": settings.command,
    "migrate": migrate.command,
    "version": version.command,
}
"""In the order in which people need them."""


def make_cli() -> typer.Typer:
    """All commands as one."""
    cli = typer.Typer(
        name=PROGRAM,
        help="Runs teams of agents and streams what they do.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        cli.command(name)(command)
    return cli


def main() -> NoReturn:
    """Run a command and leave with its exit status.

    0 done · 1 failed · 2 wrong usage, settings or agents file · 3 cancelled · 4 server
    unreachable, or it refused · 130 Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 must not be an error
    try:
        make_cli()(prog_name=PROGRAM)
    except CommandFailed as failure:
        status = _complained(failure, failure.status)
    except (CatalogError, InvalidRequest, SettingsError) as error:
        status = _complained(error, Status.USAGE)
    except PoststreamError as error:
        status = _complained(error, Status.FAILED)
    except OSError as error:  # a folder or a file that cannot be used
        status = _complained(_sentence(error), Status.FAILED)
    sys.exit(status)


def _complained(what: object, status: Status) -> Status:
    if str(what):
        complain(str(what))
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    return status


def _sentence(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
