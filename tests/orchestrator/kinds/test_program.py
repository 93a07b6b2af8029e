"""Programs of command agents never outlive their attempt, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from orchestrator.errors import AppendRefused
from orchestrator.kinds import program
from orchestrator.kinds.arguments import Arguments
from orchestrator.kinds.command import Command, CommandAgent
from orchestrator.processes import group_is_alive, led_by, signal_group
from tests.orchestrator.kinds.support import Trial, eventually, names_in

Loops = Callable[[], asyncio.AbstractEventLoop]
both_loops = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where work folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def agent(*arguments: str, **options: Any) -> CommandAgent:
    command = Command(arguments=Arguments(arguments), **options)
    return CommandAgent("tool", "Tool", "A tool.", command=command)


def shell(script: str, **options: Any) -> CommandAgent:
    return agent("sh", "-c", script, **options)


def run(main: Coroutine[Any, Any, None], loop: Loops) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main)


@both_loops
def test_the_group_is_stored_before_the_program_gets_its_input(loop: Loops) -> None:
    async def main() -> None:
        trial = Trial(shell("read line; echo $$", stdin="json"))
        await trial.run()
        ((group, started),) = trial.recorder.groups
        assert group == int(trial.text)
        assert started > 0

    run(main(), loop)


async def test_a_run_that_lost_its_task_leaves_no_program() -> None:
    trial = Trial(shell("sleep 300"))
    trial.recorder.refusal = AppendRefused(None)
    with pytest.raises(AppendRefused):
        await trial.run()
    ((group, _),) = trial.recorder.groups
    assert group > 1
    assert not group_is_alive(group)


@both_loops
def test_what_a_program_leaves_behind_is_killed(loop: Loops) -> None:
    """The member holds the output open; it is not waited for."""

    async def main() -> None:
        trial = Trial(shell("sleep 300 & echo done"))
        await asyncio.wait_for(trial.run(), 10)
        assert trial.text == "done\n"
        assert not group_is_alive(trial.recorder.groups[0][0])

    run(main(), loop)


@both_loops
@pytest.mark.parametrize(
    "goes_on",
    ["exec sleep 20", "while sleep 0.05; do echo tick; done", "while :; do echo flood; done"],
    ids=["silent", "ticking", "flooding"],
)
def test_a_process_that_left_the_group_does_not_hold_the_agent(
    loop: Loops, goes_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the output open, and is ended where it can be told whose it is."""
    monkeypatch.setattr(program, "LATE_SECONDS", 0.3)
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sh', '-c', sys.argv[1]], start_new_session=True)\n"
        "print(child.pid)\n"
    )

    async def main() -> None:
        trial = Trial(agent("{python}", "-c", script, goes_on))
        try:
            await asyncio.wait_for(trial.run(), 15)
        finally:
            (number,) = (int(line) for line in trial.text.split() if line.isdigit())
            left = group_is_alive(number)
            signal_group(number, signal.SIGKILL)
        assert not left or sys.platform != "linux"

    run(main(), loop)


@both_loops
@pytest.mark.parametrize(
    "script",
    [
        "echo ready; sleep 300",
        "sleep 300 & sleep 300 & echo ready; wait",
        "trap '' TERM; sleep 300 & echo ready; wait; sleep 300",
        "sh -c \"trap '' TERM; echo ready; sleep 300; sleep 300\"",
    ],
    ids=["plain", "members", "deaf", "deaf member"],
)
def test_cancel_ends_the_whole_group(
    loop: Loops, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "TERM_SECONDS", 0.5)

    async def main() -> None:
        trial = Trial(shell(script))
        task = trial.start()
        await eventually(lambda: trial.text == "ready\n")
        group = trial.recorder.groups[0][0]
        assert group_is_alive(group)
        started = time.monotonic()
        for _ in range(3):  # a cancel may come again while the first is obeyed
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not group_is_alive(group)
        assert time.monotonic() - started < 10
        assert names_in(Path(tempfile.gettempdir())) == []

    run(main(), loop)


async def test_a_cancelled_program_may_end_in_its_own_way(folders: Path) -> None:
    """It gets SIGTERM first, and a member may go on for a while after its leader."""
    trial = Trial(
        shell(
            f"(trap 'sleep 0.2; echo > {folders}/kept; exit' TERM; echo ready; sleep 300 & wait) & "
            "wait"
        )
    )
    task = trial.start()
    await eventually(lambda: trial.text == "ready\n")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names_in(folders) == ["kept"]


@both_loops
def test_a_cancel_at_any_moment_leaves_nothing(loop: Loops) -> None:
    """Cancelled after every number of turns of the loop, from before the start to after it."""

    async def main() -> None:
        for turns in range(40):
            trial = Trial(shell("sleep 300"))
            task = trial.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for group, _ in trial.recorder.groups:
                assert not group_is_alive(group)

    before = children()
    run(main(), loop)
    assert children() == before
    assert names_in(Path(tempfile.gettempdir())) == []


def children() -> set[int]:
    """Living children of this process, and those that nobody has taken."""
    mine = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                mine.add(int(entry.name))
    return mine


def test_a_leader_is_identified_while_it_runs() -> None:
    """What is stored is what a later look finds."""

    async def main() -> None:
        trial = Trial(shell("echo ready; sleep 300"))
        task = trial.start()
        await eventually(lambda: trial.text)
        ((group, started),) = trial.recorder.groups
        assert led_by(group) == (group, started)
        task.cancel()
        await asyncio.wait([task])

    run(main(), asyncio.new_event_loop)
