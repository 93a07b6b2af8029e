"""Statistics of jobs: counts, success rate, failures by code, times, tokens and cost."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import orjson

from orchestrator.store.jobs import Figures
from orchestrator.tasks import AgentStatus, TaskStatus

GroupBy = Literal["agent", "day", "jobType"]

_COMPLETED = (TaskStatus.COMPLETED, AgentStatus.COMPLETED)
_FAILED = (TaskStatus.FAILED, AgentStatus.ERROR)


class Tally:
    """One group."""

    def __init__(self) -> None:
        self._count = 0
        self._statuses: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._times: list[int] = []
        self._tokens = [0, 0]
        self._cost = 0.0

    def add(self, figures: Figures) -> None:
        """Count a task, or an attempt of an agent."""
        self._count += 1
        kind = _kind(figures)
        self._statuses[kind] += 1
        if kind not in ("completed", "unfinished") and figures.code:
            self._codes[figures.code] += 1
        if kind == "completed" and figures.time_ms is not None:
            self._times.append(figures.time_ms)
        if figures.usage is not None:
            usage = orjson.loads(figures.usage)
            self._tokens[0] += usage["inputTokens"]
            self._tokens[1] += usage["outputTokens"]
            self._cost += usage["costUsd"]

    def to_dict(self) -> dict[str, Any]:
        """The figures under the names of the wire; rate and times are left out without any."""
        statuses = self._statuses
        fields: dict[str, Any] = {
            "count": self._count,
            "completed": statuses["completed"],
            "failed": statuses["failed"],
            "cancelled": statuses["cancelled"],
            "timedOut": statuses["timedOut"],
            "unfinished": statuses["unfinished"],
            "failures": dict(self._codes.most_common()),
            "inputTokens": self._tokens[0],
            "outputTokens": self._tokens[1],
            "costUsd": round(self._cost, 6),
        }
        # What somebody has cancelled says nothing about success.
        judged = self._count - statuses["unfinished"] - statuses["cancelled"]
        if judged:
            fields["successRate"] = round(statuses["completed"] / judged, 4)
        if self._times:
            times = sorted(self._times)
            fields["medianTime"] = percentile(times, 0.5)
            fields["p95Time"] = percentile(times, 0.95)
        return fields


class Tallies:
    """All groups, and everything together.

    Args:
        group_by: What makes a group: the role of an attempt, or day or type of a task.
    """

    def __init__(self, group_by: GroupBy) -> None:
        self._group_by = group_by
        self._total = Tally()
        self._groups: dict[str, Tally] = {}

    def add_tasks(self, tasks: Iterable[Figures]) -> None:
        """Count tasks."""
        for figures in tasks:
            self._total.add(figures)
            if self._group_by == "day":
                day = time.strftime("%Y-%m-%d", time.gmtime(figures.created / 1000))
                self._group(day).add(figures)
            elif self._group_by == "jobType":
                self._group(figures.group).add(figures)

    def add_attempts(self, attempts: Iterable[Figures]) -> None:
        """Count attempts of agents."""
        for figures in attempts:
            self._group(figures.group).add(figures)

    def to_dict(self) -> dict[str, Any]:
        """``total`` (of tasks) and ``groups``, sorted by name."""
        groups = [{"group": name, **self._groups[name].to_dict()} for name in sorted(self._groups)]
        return {"total": self._total.to_dict(), "groups": groups}

    def _group(self, name: str) -> Tally:
        return self._groups.setdefault(name, Tally())


def percentile(times: Sequence[int], part: float) -> int:
    """The value below which a part of sorted values lies, by the nearest rank."""
    return times[math.ceil(len(times) * part) - 1]


def _kind(figures: Figures) -> str:
    if figures.status in _COMPLETED:
        return "completed"
    if figures.status == TaskStatus.TIMED_OUT or (
        figures.status in _FAILED and figures.code == "timeout"
    ):
        return "timedOut"
    if figures.status in _FAILED:
        return "failed"
    return "cancelled" if figures.status == TaskStatus.CANCELLED else "unfinished"
