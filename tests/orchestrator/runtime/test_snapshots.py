"""Snapshots: what a task is, and that the stream behind it neither loses nor doubles a word."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.agents import AgentContext, AgentResult
from orchestrator.events import Usage
from tests.grammar import parse_frames
from tests.orchestrator.teams import (
    OWNER,
    fail,
    hang,
    read_to_end,
    run_task,
    service,
    speak,
    submit,
    team,
)  # fmt: skip


async def test_a_snapshot_and_what_follows_it_are_the_whole_text() -> None:
    async def work(context: AgentContext) -> None:
        for number in range(300):
            await context.write(f"{number} ")
            if number % 10 == 0:
                await asyncio.sleep(0)

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        shots: list[dict[str, Any]] = []
        while not shots or shots[-1]["status"] != "completed":
            shots.append(await opened.snapshot(submission.task_id, owner=OWNER))
        events = parse_frames(await read_to_end(submission.reader))
        whole = "".join(f"{number} " for number in range(300))
        for shot in shots:
            rest = [e.get("content", "") for e in events if e["seq"] > shot["lastEventId"]]
            assert shot["agents"][0]["content"] + "".join(rest) == whole


async def test_a_snapshot_says_everything_of_a_task() -> None:
    async def work(context: AgentContext) -> AgentResult:
        await context.progress("reading", done=3, total=4, failed=1)
        await context.save_artifact("r.md", b"# R", "text/markdown")
        await context.write("text")
        return AgentResult(output={"n": 1}, usage=Usage(input_tokens=2, cost_usd=0.5))

    async with service(team(a=work, b=fail, c=speak)) as opened:
        events = await run_task(
            opened, "a", "b", "c", title="T", inputs={"x": 1}, metadata={"k": "v"}, priority=3,
            jobType="api", triggerSource="test",
        )  # fmt: skip
        shot = await opened.snapshot(events[0]["taskId"], owner=OWNER)
        times = {"createdAt", "startedAt", "endedAt", "activeTime", "queueTime",
                 "totalExecutionTime"}  # fmt: skip
        assert times <= shot.keys()
        expected: dict[str, Any] = {
            "taskId": events[0]["taskId"], "title": "T", "description": "Do it",
            "status": "failed", "executionMode": "sequential", "selectedAgents": ["a", "b", "c"],
            "inputs": {"x": 1}, "metadata": {"k": "v"}, "jobType": "api", "priority": 3,
            "triggerSource": "test", "code": "agent_failed", "lastEventId": len(events),
            "itemsDone": 3, "itemsFailed": 1, "stuck": False, "archived": False,
        }  # fmt: skip
        assert {name: shot.get(name) for name in expected} == expected
        a, b, c = shot["agents"]
        assert (a["status"], a["attempt"], a["content"], a["progress"]) == (
            "completed",
            1,
            "text",
            1,
        )
        assert a["output"] == {"n": 1}
        assert a["usage"] == {"inputTokens": 2, "outputTokens": 0, "costUsd": 0.5}
        assert a["artifacts"] == [{"name": "r.md", "mediaType": "text/markdown", "size": 3}]
        assert (b["status"], b["code"], b["attempt"]) == ("error", "agent_failed", 1)
        assert (c["status"], c["attempt"], c["content"]) == ("skipped", 0, "")
        assert None not in shot.values()


async def test_a_large_output_is_whole_in_the_snapshot_only() -> None:
    async def work(context: AgentContext) -> AgentResult:
        return AgentResult(output=["x" * 1000] * 100)

    async with service(team(a=work)) as opened:
        events = await run_task(opened, "a")
        assert events[-2]["outputTruncated"] is True
        assert "output" not in events[-2]
        shot = await opened.snapshot(events[0]["taskId"], owner=OWNER)
        assert shot["agents"][0]["output"] == ["x" * 1000] * 100


async def test_a_running_task_shows_how_far_it_is() -> None:
    async with service(team(a=hang, b=speak)) as opened:
        submission = await submit(opened, "b", "a")
        assert submission.reader is not None
        data = b""
        while b"hanging" not in data:
            data += await submission.reader.next() or b""
        submission.reader.close()
        shot = await opened.snapshot(submission.task_id, owner=OWNER)
        assert shot["status"] == "running"
        assert [agent["status"] for agent in shot["agents"]] == ["completed", "running"]
        assert shot["agents"][1]["message"] == "hanging"
        assert shot["progress"] == 0.5
        assert "endedAt" not in shot
