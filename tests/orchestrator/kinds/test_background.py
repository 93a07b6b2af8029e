"""Background agents: blocking code in daemon threads that report, wait and are waited for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentOutput, AgentRegistry, AgentResult
from orchestrator.errors import AgentError, AttemptClosed
from orchestrator.events import AgentFailed, Event
from orchestrator.kinds.background import (
    BackgroundAgent,
    BackgroundTask,
    DaemonThreads,
    ProgressHandle,
)
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks import TaskRequest
from tests.orchestrator.kinds.support import Trial, eventually

ROOT = Path(__file__).parents[3]
Body = Callable[[ProgressHandle, dict[str, Any]], Any]


class Does(BackgroundTask):
    """Does what it is told."""

    def __init__(self, body: Body) -> None:
        self.body = body

    def execute(self, progress_handle: ProgressHandle, **inputs: Any) -> dict[str, Any]:
        return self.body(progress_handle, inputs)  # type: ignore[no-any-return]


def agent(task: BackgroundTask | Body, threads: DaemonThreads | None = None) -> BackgroundAgent:
    task = task if isinstance(task, BackgroundTask) else Does(task)
    return BackgroundAgent("worker", "Worker", "Works.", task, threads or DaemonThreads(4))


@pytest.fixture
async def gate() -> AsyncIterator[threading.Event]:
    """What a thread waits for; open at the end of the test, so that no thread stays behind."""
    gate = threading.Event()
    yield gate
    gate.set()


async def cancelled(task: asyncio.Task[AgentResult | None]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_it_returns_is_the_output_and_what_it_reports_comes_in_order() -> None:
    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        handle.send_progress_text("begins")
        handle.send_progress_value(0.25)
        handle.write("some ")
        handle.send_progress(done=1, total=2, failed=1, message="half")
        handle.write("text")
        handle.save_artifact("a.txt", "content", "text/plain")
        return {"thread": threading.current_thread().name, "got": inputs}

    trial = Trial(agent(body), {"n": 1})
    assert await trial.run() == AgentResult(output={"thread": "agent worker", "got": {"n": 1}})
    assert trial.text == "some text"
    assert trial.messages == ["begins", "half"]
    reported = [(e.progress, e.items_done, e.items_total, e.items_failed) for e in trial.progress]
    assert reported[1] == (0.25, None, None, None)
    assert reported[3] == (0.5, 1, 2, 1)
    assert trial.recorder.artifacts == {("worker", "a.txt"): b"content"}


async def test_the_handle_knows_task_attempt_and_earlier_outputs() -> None:
    outputs = {"first": AgentOutput(text="t", output={"k": 1})}

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "description": handle.task.description,
            "attempt": handle.attempt,
            "k": handle.outputs["first"].output["k"],
        }

    result = await Trial(agent(body), outputs=outputs).run()
    assert result == AgentResult(output={"description": "the task", "attempt": 1, "k": 1})


async def test_a_method_gets_the_inputs_it_declares() -> None:
    class Declares(BackgroundTask):
        def execute(
            self, progress_handle: ProgressHandle, path: str, *, depth: int = 3
        ) -> dict[str, Any]:
            return {"path": path, "depth": depth}

    result = await Trial(agent(Declares()), {"path": "p", "other": 1}).run()
    assert result == AgentResult(output={"path": "p", "depth": 3})
    with pytest.raises(AgentError, match=r"inputs\.path") as caught:
        await Trial(agent(Declares()), {"depth": 1}).run()
    assert caught.value.code == "invalid_input"


async def test_an_input_named_like_the_handle_is_left_out() -> None:
    trial = Trial(agent(lambda handle, inputs: inputs), {"progress_handle": 1, "n": 2})
    assert await trial.run() == AgentResult(output={"n": 2})


async def test_its_errors_pass() -> None:
    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        raise inputs["error"]

    for error in (AgentError("said so", code="mine"), ValueError("v")):
        with pytest.raises(type(error)) as caught:
            await Trial(agent(body), {"error": error}).run()
        assert caught.value is error


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit()]
)
async def test_nothing_a_thread_raises_ends_the_loop(error: BaseException) -> None:
    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        await Trial(agent(body)).run()


async def test_only_a_dict_is_an_output() -> None:
    assert await Trial(agent(lambda handle, inputs: None)).run() == AgentResult()
    with pytest.raises(TypeError, match="worker returned list"):
        await Trial(agent(lambda handle, inputs: [1])).run()


async def test_a_report_waits_while_there_is_no_room() -> None:
    calls: list[str] = []

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        calls.append("one")
        handle.send_progress_text("one")
        calls.append("two")
        return {}

    trial = Trial(agent(body))
    trial.recorder.room.clear()
    task = trial.start()
    await eventually(lambda: calls)
    for _ in range(100):  # whatever the thread could do by now, it would have done
        await asyncio.sleep(0)
    await asyncio.to_thread(lambda: None)
    assert calls == ["one"]
    trial.recorder.room.set()
    await task
    assert calls == ["one", "two"]


async def test_after_the_end_every_call_is_refused() -> None:
    handles: list[ProgressHandle] = []
    trial = Trial(agent(lambda handle, inputs: handles.append(handle)))
    await trial.run()
    calls: list[Callable[[], None]] = [
        lambda: handles[0].send_progress_text("late"),
        lambda: handles[0].send_progress_value(1),
        lambda: handles[0].send_progress(done=1),
        lambda: handles[0].write("late"),
        lambda: handles[0].save_artifact("a", b""),
    ]
    for call in calls:
        with pytest.raises(AttemptClosed):
            await asyncio.to_thread(call)
    assert trial.events == []


async def test_a_thread_that_was_left_behind_is_refused_too(gate: threading.Event) -> None:
    refused = threading.Event()

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        gate.wait()
        try:
            handle.write("late")
        except AttemptClosed:
            refused.set()
        return {}

    trial = Trial(agent(body))
    task = trial.start()
    await asyncio.sleep(0)
    trial.reporter.close()  # what the orchestrator does when it cannot wait any more
    gate.set()
    await task
    assert refused.is_set()
    assert trial.events == []


# --- cancel ----------------------------------------------------------------------------------


async def test_cancel_is_seen_by_the_task() -> None:
    running = threading.Event()
    seen: list[bool] = []

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        seen.append(handle.cancelled)
        running.set()
        while True:
            handle.raise_if_cancelled()
            running.wait(0.001)

    trial = Trial(agent(body))
    task = trial.start()
    await eventually(running.is_set)
    assert not task.done()
    task.cancel()
    await cancelled(task)
    assert seen == [False]


async def test_a_deaf_thread_is_waited_for_however_often_it_is_cancelled(
    gate: threading.Event,
) -> None:
    threads = DaemonThreads(1)

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        gate.wait()
        return {}

    task = Trial(agent(body, threads)).start()
    await eventually(lambda: threads.running == 1)
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    gate.set()
    await cancelled(task)
    assert threads.running == 0


async def test_the_orchestrator_leaves_a_deaf_thread_behind_and_names_it(
    gate: threading.Event,
) -> None:
    threads = DaemonThreads(2)

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        gate.wait()
        return {}

    registry = AgentRegistry(agent(body, threads))
    events: list[Event] = []
    result = await Orchestrator(registry, cancel_grace_seconds=0.1).execute_task(
        TaskRequest(description="d", selected_agents=["worker"], timeout_seconds=0.1), events.append
    )
    assert threads.running == 1
    assert result.not_stopped == ("worker",)
    (failed,) = (event for event in events if isinstance(event, AgentFailed))
    assert failed.code == "not_stopped"
    gate.set()
    await eventually(lambda: threads.running == 0)


# --- threads ---------------------------------------------------------------------------------


async def test_more_than_the_limit_wait_and_say_so(gate: threading.Event) -> None:
    threads = DaemonThreads(2)
    at_once: list[int] = []

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        at_once.append(threads.running)
        gate.wait()
        return {}

    trials = [Trial(agent(body, threads)) for _ in range(5)]
    tasks = [trial.start() for trial in trials]
    await eventually(lambda: len(at_once) == 2)
    await eventually(lambda: sum(len(trial.messages) for trial in trials) == 3)
    assert threads.running == 2
    assert threads.full
    assert [t.messages for t in trials] == [[], [], *[["Waiting for a free thread"]] * 3]
    gate.set()
    await asyncio.gather(*tasks)
    assert max(at_once) <= 2
    assert len(at_once) == 5
    assert threads.running == 0


async def test_who_is_cancelled_while_waiting_starts_nothing(gate: threading.Event) -> None:
    threads = DaemonThreads(1)
    started: list[str] = []

    def body(handle: ProgressHandle, inputs: dict[str, Any]) -> dict[str, Any]:
        started.append(inputs["name"])
        gate.wait()
        return {}

    first = Trial(agent(body, threads), {"name": "first"}).start()
    await eventually(lambda: started)
    second = Trial(agent(body, threads), {"name": "second"})
    waiting = second.start()
    await eventually(lambda: second.messages)
    waiting.cancel()
    await cancelled(waiting)
    gate.set()
    await first
    await Trial(agent(body, threads), {"name": "third"}).run()
    assert started == ["first", "third"]


def test_a_process_ends_although_a_thread_hangs() -> None:
    script = (
        "import asyncio, threading\n"
        "from orchestrator import AgentRegistry, Orchestrator, TaskRequest\n"
        "from orchestrator.kinds.background import BackgroundTask, BackgroundAgent, DaemonThreads\n"
        "from tests.orchestrator.kinds.support import eventually\n"
        "class Hangs(BackgroundTask):\n"
        "    def execute(self, progress_handle, **inputs):\n"
        "        threading.Event().wait()\n"
        "async def main():\n"
        "    threads = DaemonThreads(1)\n"
        "    registry = AgentRegistry(BackgroundAgent('r', 'n', 'd', Hangs(), threads))\n"
        "    orchestrator = Orchestrator(registry, cancel_grace_seconds=0.05)\n"
        "    request = TaskRequest(description='x', selected_agents=['r'])\n"
        "    task = asyncio.create_task(orchestrator.execute_task(request))\n"
        "    await eventually(lambda: threads.running)\n"
        "    task.cancel()\n"
        "    await asyncio.wait([task])\n"
        "    print(threads.running)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
