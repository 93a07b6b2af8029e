"""`poststream serve`."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.terminal import CommandFailed, print_data, print_json

if TYPE_CHECKING:
    from api.settings import Settings


def command(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON once it serves; the log is JSON as well.")
    ] = False,
) -> None:
    """Start the server: the API and the worker that runs the tasks."""
    from api.app import create_app
    from api.cli.welcome import facts, welcome
    from api.logs import configure_logging
    from api.server import Server, run_server
    from api.settings import Settings
    from api.team import load_registry
    from orchestrator.errors import StorageError

    configure_logging(json=json or None)
    given: dict[str, Any] = {"host": host, "port": port}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    registry = load_registry(settings)
    with _listen(settings) as listener:
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})

        def failed(error: StorageError) -> None:
            server.fail(error)

        def started() -> None:
            if json:
                print_json(facts(settings, registry))
            else:
                print_data(welcome(settings, registry))

        app = create_app(settings, registry, on_fatal=failed)
        server = Server(app, settings, on_started=started)
        status = run_server(server, listener)
    raise typer.Exit(status)


def _listen(settings: Settings) -> socket.socket:
    """The listening socket, before anything else is touched.

    Raises:
        CommandFailed: The address cannot be used; says who has it and what to do.
    """
    from api.server import listen

    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        raise CommandFailed(_sentence(error, settings)) from None


def _sentence(error: OSError, settings: Settings) -> str:
    host, port = settings.host, settings.port
    match error.errno:
        case errno.EADDRINUSE:
            from api.ports import free_port, holder_of

            other = free_port(host, after=port)
            return (
                f"Port {port} on {host} is in use by {holder_of(port)}. Stop that one, or choose "
                f"another port: poststream serve --port {other}, make run PORT={other}, "
                f"or POSTSTREAM_PORT={other}."
            )
        case errno.EACCES:
            return f"Port {port} is reserved; choose one above 1023 with --port."
        case errno.EADDRNOTAVAIL:
            return f"This machine has no address {host}; choose another with --host."
    if isinstance(error, socket.gaierror):
        return f"The host {host} is not known: {error.strerror}."
    return f"Cannot listen on {host}, port {port}: {error.strerror or error}."
