"""A scenario that dies at a chosen crash point of the writer, in a process of its own.

Run as a module it is a small server: each line on its input is a job, played in a forked child
that ends without any clean-up; the answer is the child's exit status. So a run costs a fork and
no start of an interpreter.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from orchestrator.agents import AgentContext, AgentOptions, AgentRegistry, AgentResult
from orchestrator.errors import AgentError
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.service import TaskService
from tests.orchestrator.teams import OWNER, at_file, eventually, hang, request, service, team

DIED = 77  # exit status of a child that reached its crash point


class Job(NamedTuple):
    """Where to die."""

    folder: str
    """Holds the database and, per task, what its reader has seen."""
    point: str
    nth: int


async def _write(context: AgentContext) -> AgentResult:
    # No two runs say the same, so that events which were made again instead of kept are noticed.
    await context.write(f"{context.role} {secrets.token_hex(8)} ")
    await context.progress(f"note {secrets.token_hex(8)}")
    await context.save_artifact("file.bin", secrets.token_bytes(8))
    await context.write(secrets.token_hex(8))
    return AgentResult(output={"nonce": secrets.token_hex(8)})


async def _stumble(context: AgentContext) -> None:
    if context.restored is None:
        await context.checkpoint({"nonce": secrets.token_hex(4)})
        raise AgentError("once more", retryable=True)
    await context.write(secrets.token_hex(8))


async def _break(context: AgentContext) -> None:
    raise AgentError("for good")


def registry() -> AgentRegistry:
    """The agents of the scenario."""
    again = AgentOptions(max_attempts=5, retry_delay_seconds=0.001)
    return team({"stumble": again}, a=_write, b=_write, stumble=_stumble, bad=_break, hang=hang)


async def play(opened: TaskService, folder: Path) -> None:
    """Three tasks: one waits for another, one is cancelled; a failed agent among them."""
    readers = []

    async def submit(*roles: str, **fields: object) -> str:
        title = str(fields["title"])
        submission = await opened.submit(
            request(*roles, **fields), owner=OWNER, idempotency_key=title, body_hash=title,
            attach=True,
        )  # fmt: skip
        reader = submission.reader
        assert reader is not None
        seen = folder / submission.task_id
        seen.touch()
        readers.append(asyncio.create_task(_follow(reader, seen)))
        return submission.task_id

    first = await submit("a", "b", title="first")
    await submit(
        "bad", "stumble", title="second", executionMode="parallel", after=[first]
    )  # fmt: skip
    hanging = await submit("a", "hang", title="hanging")
    seen = folder / hanging
    await eventually(lambda: b'"message":"hanging"' in seen.read_bytes())
    await opened.cancel(hanging, owner=OWNER, requested_by="me")
    await asyncio.gather(*readers)


async def _follow(reader: Reader, path: Path) -> None:
    """Write down every frame as it is seen."""
    with path.open("ab", buffering=0) as seen:
        while not reader.ended and (data := await reader.next()) is not None:
            seen.write(data)
    reader.close()


async def _die(job: Job) -> None:
    hits = 0

    def at(point: str) -> None:
        nonlocal hits
        hits += point == job.point
        if hits == job.nth:
            os._exit(DIED)

    folder = Path(job.folder)
    settings = at_file(folder / "tasks.db", max_concurrent_tasks=2)
    async with service(registry(), settings, at=at) as opened:
        await play(opened, folder)


def _serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(_die(Job(*json.loads(line))))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Children:
    """The other end of the server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, job: Job) -> int:
        """Play a job; returns the exit status of its process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextmanager
def children() -> Iterator[Children]:
    """A server for jobs."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Children(process)


if __name__ == "__main__":
    _serve()
