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
from tests.grammar import split_frames
from tests.orchestrator.teams import (
    OWNER,
    Work,
    at_file,
    eventually,
    hang,
    request,
    service,
    team,
)  # fmt: skip

DIED = 77  # exit status of a child that reached its crash point


class Job(NamedTuple):
    """Where to die."""

    folder: str
    """Holds the database and, per task, what its reader has seen."""
    point: str
    nth: int
    scenario: str = "agents"


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


async def _break_once(context: AgentContext) -> None:
    await context.write(secrets.token_hex(8))
    if context.attempt == 1:
        raise AgentError("for now")


def _wait(gate: asyncio.Event) -> Work:
    async def work(context: AgentContext) -> None:
        await context.progress("waiting")
        await gate.wait()
        await context.write(secrets.token_hex(8))

    return work


def registry(gate: asyncio.Event) -> AgentRegistry:
    """The agents of the scenarios; `wait` waits for a gate."""
    again = AgentOptions(max_attempts=5, retry_delay_seconds=0.001)
    return team(
        {"stumble": again}, a=_write, b=_write, stumble=_stumble, bad=_break, hang=hang,
        once=_break_once, wait=_wait(gate),
    )  # fmt: skip


class Stage:
    """What a scenario plays on.

    Args:
        opened: The service.
        folder: Where what readers see is written down.
        gate: What the agents `wait` wait for.
    """

    def __init__(self, opened: TaskService, folder: Path, gate: asyncio.Event) -> None:
        self.opened = opened
        self.folder = folder
        self.gate = gate
        self.readers: list[asyncio.Task[None]] = []

    async def submit(self, *roles: str, **fields: object) -> str:
        """Submit a task and let somebody read it."""
        title = str(fields["title"])
        submission = await self.opened.submit(
            request(*roles, **fields), owner=OWNER, idempotency_key=title, body_hash=title,
            attach=True,
        )  # fmt: skip
        assert submission.reader is not None
        (self.folder / submission.task_id).touch()
        self._read(submission.task_id, submission.reader)
        return submission.task_id

    async def seen(self, task_id: str, words: bytes, *, times: int = 1) -> None:
        """Wait until a reader has seen something."""
        path = self.folder / task_id
        await eventually(lambda: path.read_bytes().count(words) >= times)

    async def control(self, name: str, task_id: str, **options: bool) -> None:
        """Use a control; a retry is read by somebody new."""
        call = getattr(self.opened, name)
        await call(task_id, owner=OWNER, requested_by="me", **options)

    async def retry(self, task_id: str) -> None:
        """Wait until everything was seen, retry, and read on."""
        await asyncio.gather(*self.readers)
        after = len(split_frames((self.folder / task_id).read_bytes()))
        await self.control("retry", task_id)
        self._read(task_id, await self.opened.attach(task_id, owner=OWNER, after=after))

    def _read(self, task_id: str, reader: Reader) -> None:
        self.readers.append(asyncio.create_task(_follow(reader, self.folder / task_id)))


async def play_agents(stage: Stage) -> None:
    """Three tasks: one waits for another, one is cancelled; a failed agent among them."""
    first = await stage.submit("a", "b", title="first")
    await stage.submit("bad", "stumble", title="second", executionMode="parallel", after=[first])
    hanging = await stage.submit("a", "hang", title="hanging")
    await stage.seen(hanging, b'"message":"hanging"')
    await stage.control("cancel", hanging)


async def play_controls(stage: Stage) -> None:
    """Two tasks that are paused, resumed, cancelled and retried in every way."""
    calm = await stage.submit("wait", "a", title="paused between two agents")
    await stage.seen(calm, b'"message":"waiting"')
    await stage.control("pause", calm)
    await stage.control("resume", calm)  # in time
    await stage.control("pause", calm)
    hasty = await stage.submit("wait", "once", title="stopped", executionMode="parallel")
    await stage.seen(hasty, b'"message":"waiting"')
    await stage.seen(hasty, b"for now")
    await stage.control("pause", hasty)
    await stage.control("pause", hasty, stop_now=True)
    await stage.seen(hasty, b'"state":"paused"')
    await stage.control("resume", hasty)
    await stage.seen(hasty, b'"message":"waiting"', times=2)
    stage.gate.set()
    await stage.seen(calm, b'"state":"paused"')
    await stage.control("cancel", calm)
    await stage.retry(calm)  # `wait` has delivered
    await stage.retry(hasty)  # `once` has failed


SCENARIOS = {"agents": play_agents, "controls": play_controls}


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
    gate = asyncio.Event()
    async with service(registry(gate), settings, at=at) as opened:
        stage = Stage(opened, folder, gate)
        await SCENARIOS[job.scenario](stage)
        await asyncio.gather(*stage.readers)


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
