"""The server that tests start as a process of its own, and the same inside the test's loop.

    python -m tests.e2e.serving [--kill-at POINT --count N]

It differs from `poststream serve` in its agents, and in `--kill-at`: that ends it by SIGKILL the
n-th time the writer passes a crash point.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from api.app import create_app, running
from api.auth import make_token
from api.logs import configure_logging
from api.server import Server, listen, run_server
from api.settings import Settings
from orchestrator.agents import AgentContext, AgentRegistry
from orchestrator.kinds.arguments import Arguments
from orchestrator.kinds.command import Command, CommandAgent
from orchestrator.kinds.scripted import register_scripted
from tests.e2e.client import Client, until
from tests.server import SECRET, ServerProcess

ALL = ("tasks:read", "tasks:execute")


POLL_SECONDS = 0.005


def _is_open(context: AgentContext) -> bool:
    return Path(context.inputs["gate"]).exists()


class Gate:
    """An agent that writes a line and then waits until a file is there."""

    role, name, description = "gate", "Gate", "Waits for the file that inputs.gate names."

    async def run(self, context: AgentContext) -> None:
        await context.write("waiting")
        while not _is_open(context):  # noqa: ASYNC110 - what it waits for is outside the process
            await asyncio.sleep(POLL_SECONDS)


class Stubborn:
    """An agent that does not stop when it is told to, until a file is there."""

    role, name, description = "stubborn", "Stubborn", "Swallows every cancel."

    async def run(self, context: AgentContext) -> None:
        await context.progress("not listening")
        while not _is_open(context):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(POLL_SECONDS)


class Librarian:
    """An agent that saves what `inputs.files` holds by name, and says so in its output."""

    role, name, description = "librarian", "Librarian", "Saves inputs.files as artifacts."

    async def run(self, context: AgentContext) -> None:
        for name, content in context.inputs["files"].items():
            await context.save_artifact(name, content, "text/html; charset=utf-8")
        await context.write("saved")


class Reader:
    """An agent that writes what the agents before it have delivered."""

    role, name, description = "reader", "Reader", "Repeats the outputs of earlier agents."

    async def run(self, context: AgentContext) -> None:
        for role, output in sorted(context.outputs.items()):
            await context.write(f"{role}={output.text};")


class Blocking:
    """An agent that keeps the loop to itself for `inputs.seconds`."""

    role, name, description = "blocking", "Blocking", "Stops the event loop."

    async def run(self, context: AgentContext) -> None:
        time.sleep(context.inputs["seconds"])  # noqa: ASYNC251 - that is what it is for


class Flooding:
    """An agent that reports `inputs.count` messages as fast as it can."""

    role, name, description = "flooding", "Flooding", "Reports without end."

    async def run(self, context: AgentContext) -> None:
        for number in range(context.inputs["count"]):
            await context.progress(f"message {number}")


def commands() -> list[CommandAgent]:
    """Programs that print fifty megabytes without a line end, or start others."""
    line = "import sys\nfor _ in range(50): sys.stdout.write('x' * 2**20)"
    forks = "sleep 300 & setsid sleep 300 & echo here; sleep 300"
    return [
        _command("one-line", [sys.executable, "-c", line]),
        _command("one-status-line", [sys.executable, "-c", line], stdout="lines"),
        _command("forking", ["sh", "-c", forks]),
    ]


def _command(role: str, argv: list[str], **options: Any) -> CommandAgent:
    command = Command(arguments=Arguments(argv), **options)
    return CommandAgent(role, role, "A program.", command=command)


def make_registry(*, scripted: bool = True) -> AgentRegistry:
    """The scripted agents and those that a script cannot play."""
    agents = (Gate(), Stubborn(), Librarian(), Reader(), Blocking(), Flooding())
    registry = AgentRegistry(*agents, *commands())
    registry.register(_Missing(), unavailable="Set POSTSTREAM_SOMETHING.")
    if scripted:
        register_scripted(registry)
    return registry


class _Missing:
    role, name, description = "missing", "Missing", "Cannot be used here."

    async def run(self, context: AgentContext) -> None:
        raise AssertionError


def token(
    subject: str = "alice", *scopes: str, ttl_seconds: int = 3600, secret: str = SECRET
) -> str:
    """A token that the test servers accept."""
    return make_token(
        secret, subject=subject, scopes=scopes or ALL, ttl_seconds=ttl_seconds,
        issuer="poststream", audience="poststream",
    )  # fmt: skip


def process(folder: Path, *, kill_at: str = "", count: int = 1) -> ServerProcess:
    """This server as a process; not started yet."""
    command = [sys.executable, "-m", "tests.e2e.serving"]
    if kill_at:
        command += ["--kill-at", kill_at, "--count", str(count)]
    return ServerProcess(folder, command=command)


def caller(server: ServerProcess, subject: str = "alice", *scopes: str) -> Client:
    """Somebody who calls a process."""
    return Client(server.port, token(subject, *scopes))


@contextlib.asynccontextmanager
async def inside(
    data_dir: Path,
    *,
    registry: AgentRegistry | None = None,
    at: Callable[[str], None] = lambda _: None,
    **settings: Any,
) -> AsyncIterator[Client]:
    """A real server on a free port, in the loop of the test; yields alice."""
    values: dict[str, Any] = {"data_dir": data_dir, "jwt_secret": SECRET, "drain_seconds": 0}
    listener = listen("127.0.0.1", 0)
    chosen = Settings(**values, **settings, port=listener.getsockname()[1])
    app = create_app(chosen, registry or make_registry(), at=at)
    server = Server(app, chosen)

    async def serve() -> None:  # as a host does; `run_app` ends everything in its loop
        async with running(app):
            await server.serve(sockets=[listener])

    serving = asyncio.create_task(serve())

    async def started() -> bool:
        assert not serving.done(), serving
        return server.started

    try:
        await until(started, "the server started")
        yield Client(chosen.port, token())
    finally:
        server.stop()
        await serving


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill-at", default="")
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    left = options.count

    def at(point: str) -> None:
        nonlocal left
        left -= point == options.kill_at
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    configure_logging()
    listener = listen("127.0.0.1", Settings().port)
    settings = Settings(port=listener.getsockname()[1])
    registry = make_registry(scripted=settings.scripted_agents)
    server = Server(create_app(settings, registry, at=at), settings)
    print(settings.url, flush=True)
    return run_server(server, listener)


if __name__ == "__main__":
    sys.exit(main())
