"""The log folded up: what earlier runs have left, and the snapshot clients read.

Both are one read transaction, so that a snapshot and the stream after its `lastEventId` together
neither lose nor double a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from orchestrator.agents import AgentOutput
from orchestrator.events import ArtifactInfo, Usage
from orchestrator.outcomes import Outcome
from orchestrator.runs import Progress, add_usage
from orchestrator.store import agent_runs, artifacts, events
from orchestrator.store.database import Session
from orchestrator.store.tables import AgentRun
from orchestrator.tasks import AgentStatus


@dataclass(slots=True)
class AgentFold:
    """What the log says about the last attempt of one agent."""

    attempt: int = 0
    content: list[str] = field(default_factory=list)
    progress: float | None = None
    message: str | None = None
    eta_seconds: float | None = None
    items_done: int = 0
    items_failed: int = 0
    failure: dict[str, Any] | None = None
    """The `agent_error` after which it is not tried again."""
    failures: int = 0
    """Attempts that failed since the submit or the last retry of the task."""
    settled: int = 0
    """Attempts before the last retry of the task."""

    @property
    def text(self) -> str:
        """The output text: every piece of `content` of this attempt."""
        return "".join(self.content)

    def add(self, event: dict[str, Any]) -> None:
        """Fold one `agent_progress`."""
        if "content" in event:
            self.content.append(event["content"])
        self.progress = event.get("progress", self.progress)
        self.message = event.get("message", self.message)
        self.eta_seconds = event.get("etaSeconds", self.eta_seconds)
        self.items_done = event.get("itemsDone", self.items_done)
        self.items_failed = event.get("itemsFailed", self.items_failed)


def fold(session: Session, id: int) -> tuple[dict[str, AgentFold], int]:
    """Fold a whole log.

    Returns:
        What it says by role, and the number of its last event.
    """
    folds: dict[str, AgentFold] = {}
    last_seq = 0
    for seq, type, data in events.read_all(session, id):
        last_seq = seq
        if type == "agent_start":
            event = orjson.loads(data)
            role = event["agentRole"]
            before = folds.get(role, _NOTHING)
            folds[role] = AgentFold(
                event["attempt"], failures=before.failures, settled=before.settled
            )
        elif type == "agent_progress":
            event = orjson.loads(data)
            current = folds.get(event["agentRole"])
            if current is not None and current.attempt == event["attempt"]:
                current.add(event)
        elif type == "agent_error":
            event = orjson.loads(data)
            if (current := folds.get(event["agentRole"])) is not None:
                current.failures += event["status"] != "cancelled"
                current.failure = None if event["willRetry"] else event
        elif type == "task_state" and orjson.loads(data)["reason"] == "retry":
            for current in folds.values():
                current.failure, current.failures = None, 0
                current.settled = current.attempt
    return folds, last_seq


_NOTHING = AgentFold()


def load_progress(session: Session, *, id: int) -> Progress:
    """What a new run of a task needs to know of the earlier ones."""
    folds, _ = fold(session, id)
    progress = Progress()
    for role, folded in folds.items():
        progress.failures[role] = folded.failures
        if folded.failure is not None:
            status, error, code = (folded.failure[name] for name in ("status", "error", "code"))
            progress.failed[role] = Outcome(status=status, error=error, code=code)
    saved: dict[str, list[ArtifactInfo]] = {}
    for artifact in artifacts.of_task(session, id):
        info = ArtifactInfo(name=artifact.name, media_type=artifact.media_type, size=artifact.size)
        saved.setdefault(artifact.role, []).append(info)
    for run in agent_runs.of_task(session, id):
        progress.attempts[run.role] = run.attempt
        if run.checkpoint is not None:
            progress.checkpoints[run.role] = orjson.loads(run.checkpoint)
        if run.usage is not None:
            usage = Usage.model_validate_json(run.usage)
            progress.usage = add_usage(progress.usage or Usage(), usage)
            if run.attempt > folds[run.role].settled:
                progress.spent = add_usage(progress.spent or Usage(), usage)
        if run.status == AgentStatus.COMPLETED:
            progress.outputs[run.role] = _output(run, folds, saved)
    return progress


def _output(
    run: AgentRun, folds: dict[str, AgentFold], saved: dict[str, list[ArtifactInfo]]
) -> AgentOutput:
    return AgentOutput(
        text=folds[run.role].text,
        output=None if run.output is None else orjson.loads(run.output),
        artifacts=tuple(saved.get(run.role, ())),
    )
