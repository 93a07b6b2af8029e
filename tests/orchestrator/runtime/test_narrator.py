"""The narrator: who may read what it says of a run."""

from __future__ import annotations

from orchestrator.agents import TaskInfo
from orchestrator.clock import Clock
from orchestrator.outcomes import Outcome
from orchestrator.runtime.narrator import Narrator
from tests.orchestrator.teams import request, service, team


def named(id: str) -> TaskInfo:
    return TaskInfo(task_id=id, title=id, description=id)


async def test_a_run_that_is_lost_while_its_task_runs_again_keeps_no_slot() -> None:
    async with service(team()) as opened:
        log = opened.runner.log
        before = log.newest("bob", limit=50)
        narrator = Narrator(log, Clock(), slots=1)
        narrator.run_began(named("t"), "alice", request("a"), waiting=0)
        narrator.run_began(named("t"), "alice", request("a"), waiting=0)  # retried meanwhile
        narrator.run_ended("t", "", why="another run owns the task")
        narrator.run_ended("t", "completed")
        info = named("u")
        narrator.run_began(info, "alice", request("a"), waiting=0)
        narrator.attempt_ended(info, "a", 1, Outcome(status="error", error="private"), 1.0)
        narrator.close()
        # A line without a slot would be one of the loop, which everybody reads.
        assert log.newest("bob", limit=50) == before
        assert "private" in log.newest("alice", limit=50)[-1].told
