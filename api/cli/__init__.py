"""The command `poststream`.

One file for each group of commands. They import what they need when they are called, because
`poststream version`, `--help` and completion must not wait for a web server to be imported.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from api.cli import (
    agents,
    files,
    history,
    migrate,
    recover,
    run,
    runner,
    serve,
    settings,
    tasks,
    token,
    version,
)  # fmt: skip
from api.cli.terminal import PROGRAM, CommandFailed, Status, complain

COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve.command,
    "run": run.command,
    "tasks ls": tasks.ls,
    "tasks show": tasks.show,
    "tasks events": tasks.events,
    "tasks follow": tasks.follow,
    "tasks cancel": tasks.cancel,
    "tasks pause": tasks.pause,
    "tasks resume": tasks.resume,
    "tasks retry": tasks.retry,
    "tasks rm": tasks.rm,
    "history": history.command,
    "export": files.export,
    "artifacts ls": files.ls,
    "artifacts get": files.get,
    "runner status": runner.status,
    "runner start": runner.start,
    "runner stop": runner.stop,
    "runner logs": runner.logs,
    "recover": recover.command,
    "agents": agents.command,
    "token": token.command,
    "settings": settings.command,
    "migrate": migrate.command,
    "version": version.command,
}
"""In the order in which people need them; two words are a command of a group."""

GROUPS = {
    "tasks": "Tasks of a running server.",
    "artifacts": "Files that agents made, on a running server.",
    "runner": "The worker loop of a running server.",
}


def make_cli() -> typer.Typer:
    """All commands as one."""
    cli = typer.Typer(
        name=PROGRAM,
        help="Runs teams of agents and streams what they do.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: it folds paragraphs, and goes well through a pipe
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    groups: dict[str, typer.Typer] = {}
    for name, command in COMMANDS.items():
        group, _, word = name.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
            cli.add_typer(groups[group], name=group, help=GROUPS[group])
        groups.get(group, cli).command(word)(command)
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
    except Exception as error:  # the boundary of the process: what is not known is raised again
        status = _status_of(error)
        if status is None:
            raise
        if str(error):
            complain(_sentence(error))
        sys.exit(status)
    sys.exit(Status.DONE)


def _status_of(error: Exception) -> Status | None:
    from orchestrator.errors import CatalogError, InvalidRequest, PoststreamError, SettingsError

    match error:
        case CommandFailed():
            return error.status
        case CatalogError() | InvalidRequest() | SettingsError():
            return Status.USAGE
        case PoststreamError() | OSError():
            return Status.FAILED
    return None


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):  # a folder or a file that cannot be used
        where = f"{error.filename}: " if error.filename else ""
        if isinstance(error, FileExistsError | NotADirectoryError):
            return f"{where}is no folder"
        return f"{where}{error.strerror or error}"
    return str(error)
