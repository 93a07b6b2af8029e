"""`kind = "command"`: a program as an agent.

No shell, a process group and a folder of its own for each attempt, an environment by allow-list.
What a request says can become an argument or stdin, never an option and never the program.
"""

from __future__ import annotations

import asyncio
import codecs
import errno
import mimetypes
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from orchestrator.agents import AgentContext, AgentResult
from orchestrator.errors import AgentError, OutputLimitExceeded
from orchestrator.events import to_json
from orchestrator.kinds.arguments import Arguments
from orchestrator.kinds.lines import LineSplitter
from orchestrator.kinds.program import Program
from orchestrator.kinds.waiting import finished
from orchestrator.processes import attempt_marker, program_environment

MAX_JSON_BYTES = 8 * 1024 * 1024
"""Of stdout that is one JSON value: it is held in memory until the program ends."""
MAX_ARTIFACT_BYTES = 1024 * 1024 * 1024
"""A larger file is not even read; how much may be stored is for the settings to say."""

_ERROR_CHARACTERS = 2000  # of stderr in an error: a card is no log file


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a command agent runs, and how its answer is read."""

    arguments: Arguments
    stdin: Literal["none", "json"] = "none"
    """``json``: one object with ``task``, ``inputs`` and ``outputs``."""
    stdout: Literal["text", "json", "lines"] = "text"
    """Output text as it comes, one JSON result, or status lines."""
    artifacts: Sequence[str] = ()
    """Files of the work folder that are kept when it succeeds."""
    pass_on: Sequence[str] = ()
    """Environment variables it gets besides PATH, HOME, LANG and TMPDIR."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Environment variables with values of their own."""
    ok_exit_codes: Sequence[int] = (0,)

    @property
    def shown(self) -> str:
        """What people call the program."""
        return self.arguments.module or Path(self.arguments.program).name


class CommandAgent:
    """Runs a command, one process group and one work folder per attempt."""

    def __init__(self, role: str, name: str, description: str, *, command: Command) -> None:
        self.role = role
        self.name = name
        self.description = description
        self._command = command

    async def run(self, context: AgentContext) -> AgentResult | None:
        """Run it once.

        Raises:
            AgentError: `command_not_found`, `command_failed`, `invalid_input`, `invalid_output`,
                or `output_limit`.
        """
        folder = tempfile.TemporaryDirectory(prefix="poststream-", ignore_cleanup_errors=True)
        try:
            output = await self._run(context, Path(folder.name))
            for name in self._command.artifacts:
                await self._save(context, Path(folder.name), name)
            return AgentResult(output=output)
        finally:
            await finished(asyncio.ensure_future(asyncio.to_thread(folder.cleanup)))

    async def _run(self, context: AgentContext, folder: Path) -> Any:
        command = self._command
        marker = attempt_marker(context.task.task_id, context.role, context.attempt)
        program = Program(
            [command.arguments.program, *command.arguments.filled(context, folder)],
            folder=folder,
            environment=program_environment(command.pass_on, command.fixed, marker=marker),
            stdin=_stdin(context) if command.stdin == "json" else None,
        )
        try:
            await self._start(program)
            await context.store_process_group(program.group)
            program.send()
            output = await _READERS[command.stdout](program, context)
            status = await program.status()
        finally:
            await program.stop()
        if status not in command.ok_exit_codes:
            raise AgentError(self._failure(status, program.stderr), code="command_failed")
        return self._parsed(output) if command.stdout == "json" else None

    async def _start(self, program: Program) -> None:
        shown = self._command.shown
        try:
            await program.start()
        except FileNotFoundError:
            raise AgentError(
                f"There is no program `{shown}` here, or what it needs to start is missing.",
                code="command_not_found",
            ) from None
        except PermissionError:
            raise AgentError(
                f"`{shown}` may not be executed by this server.", code="command_not_found"
            ) from None
        except OSError as error:
            if error.errno == errno.E2BIG:
                message = f"The arguments of `{shown}` are longer than this system allows."
                raise AgentError(message, code="invalid_input") from None
            busy = error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
            raise AgentError(
                f"`{shown}` could not be started: {os.strerror(error.errno or 0)}.",
                code="command_failed",
                retryable=busy,
            ) from error

    def _failure(self, status: int, stderr: str) -> str:
        if status < 0:
            try:
                reason = f"was ended by {signal.Signals(-status).name}"
            except ValueError:
                reason = f"was ended by signal {-status}"
        else:
            reason = f"ended with exit status {status}"
        said = "\n".join(line.rstrip() for line in stderr.splitlines() if line.strip())
        if len(said) > _ERROR_CHARACTERS:
            said = "…" + said[1 - _ERROR_CHARACTERS :]
        return f"`{self._command.shown}` {reason}" + (f": {said}" if said else "")

    def _parsed(self, output: bytes) -> Any:
        try:
            return orjson.loads(output)
        except orjson.JSONDecodeError as error:
            raise AgentError(
                f"`{self._command.shown}` did not write JSON: {error}.", code="invalid_output"
            ) from None

    async def _save(self, context: AgentContext, folder: Path, name: str) -> None:
        content = await asyncio.to_thread(_content, folder, name)
        if content is None:
            await context.progress(f"{name} was not written.")
            return
        media_type, encoding = mimetypes.guess_type(name)
        if media_type is None or encoding is not None:
            media_type = "application/octet-stream"
        await context.save_artifact(Path(name).name, content, media_type)


def _stdin(context: AgentContext) -> bytes:
    task = context.task
    about = {
        "taskId": task.task_id,
        "title": task.title,
        "description": task.description,
        "role": context.role,
        "attempt": context.attempt,
        "metadata": dict(task.metadata),
    }
    outputs = {
        role: {"text": earlier.text, "output": earlier.output}
        for role, earlier in context.outputs.items()
    }
    return to_json({"task": about, "inputs": dict(context.inputs), "outputs": outputs}).encode()


def _content(folder: Path, name: str) -> bytes | None:
    path = (folder / name).resolve()
    # A link out of the folder would publish whatever this server can read.
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    if path.stat().st_size > MAX_ARTIFACT_BYTES:
        raise OutputLimitExceeded(f"The file {name} is larger than {MAX_ARTIFACT_BYTES} bytes.")
    return path.read_bytes()


async def _read_text(program: Program, context: AgentContext) -> bytes:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while piece := await program.read():
        await context.write(decoder.decode(piece))
    await context.write(decoder.decode(b"", final=True))
    return b""


async def _read_json(program: Program, context: AgentContext) -> bytes:
    whole = bytearray()
    while piece := await program.read():
        whole += piece
        if len(whole) > MAX_JSON_BYTES:
            raise OutputLimitExceeded(f"The JSON result has more than {MAX_JSON_BYTES} bytes.")
    return bytes(whole)


async def _read_lines(program: Program, context: AgentContext) -> bytes:
    lines = LineSplitter()
    while piece := await program.read():
        for line in lines.feed(piece):
            await context.progress(line)
    for line in lines.flush():
        await context.progress(line)
    return b""


_READERS = {"text": _read_text, "json": _read_json, "lines": _read_lines}
