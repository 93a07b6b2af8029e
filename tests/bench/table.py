"""The table: what was measured beside what it should be."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterator, Sequence

from tests.bench.peer import NAMES
from tests.bench.rows import CLIENT_LIMIT, Goal, Row, Sample

Rounds = dict[str, list[Sample]]
"""The samples of one row by server, one for each round."""

_HEAD = (
    "what", "poststream", "/ raw", "/ starlette", "target", "⅔ of it", "met", "events/write",
    "load", "others",
)  # fmt: skip


def print_table(measured: Sequence[tuple[Row, Rounds]]) -> None:
    """Print a line for each goal."""
    lines = [_HEAD, *(line for row, rounds in measured for line in _lines(row, rounds))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells))
    print(
        "\nMedians; ratios are medians of the ratios of each round."
        "\nevents/write: of poststream, raw, starlette."
        f"\nload: how much of its processor the load took at most; ! above {CLIENT_LIMIT:g}, where"
        " it may be what was measured."
        "\nothers: how many processors everything else took at most; distrust rows above 0.5."
    )


def _lines(row: Row, rounds: Rounds) -> Iterator[tuple[str, ...]]:
    samples = [sample for name in rounds for sample in rounds[name]]
    client = max(sample.client for sample in samples)
    writes = [
        f"{statistics.median(s.events_per_write for s in rounds[name]):.3g}"
        for name in NAMES
        if name in rounds
    ]
    for goal in row.goals:
        yield (
            goal.what,
            f"{_number(_median(rounds, goal.figure))} {goal.unit}",
            _ratio(rounds, goal.figure, "raw"),
            _ratio(rounds, goal.figure, "starlette"),
            _limit(goal, goal.limit),
            _limit(goal, eased(goal)),
            met(goal, rounds),
            " ".join(writes) if any(s.events_per_write for s in samples) else "-",
            f"{client:.2f}{'!' * (client > CLIENT_LIMIT)}",
            f"{max(sample.others for sample in samples):.2f}",
        )


def eased(goal: Goal) -> float:
    """The limit of two thirds of a target."""
    return goal.limit * 2 / 3 if goal.least else goal.limit * 3 / 2


def met(goal: Goal, rounds: Rounds) -> str:
    """``yes``, ``⅔`` or ``no``."""
    value = _judged(goal, rounds)
    if value is None:
        return "-"

    def holds(limit: float) -> bool:
        return value >= limit if goal.least else value <= limit

    return "yes" if holds(goal.limit) else "⅔" if holds(eased(goal)) else "no"


def _judged(goal: Goal, rounds: Rounds) -> float | None:
    """What the limit is held against; None when the server to compare with was not measured."""
    name, _, difference = goal.of.partition(" ")
    if not name:
        return _median(rounds, goal.figure)
    return _compared(rounds, goal.figure, name, operator.sub if difference else operator.truediv)


def _compared(
    rounds: Rounds, figure: str, name: str, compare: Callable[[float, float], float]
) -> float | None:
    pairs = zip(rounds["poststream"], rounds.get(name, ()), strict=False)
    compared = [compare(own.figures[figure], its.figures[figure] or 1e-9) for own, its in pairs]
    return statistics.median(compared) if compared else None


def _ratio(rounds: Rounds, figure: str, name: str) -> str:
    ratio = _compared(rounds, figure, name, operator.truediv)
    return "-" if ratio is None else f"{ratio:.2f}"


def _median(rounds: Rounds, figure: str) -> float:
    return statistics.median(sample.figures[figure] for sample in rounds["poststream"])


def _limit(goal: Goal, limit: float) -> str:
    sign = "≥" if goal.least else "≤"
    if goal.of == "raw +":
        return f"{sign} raw + {limit:g} {goal.unit}"
    if goal.of:
        return f"{sign} {limit:.2g} x {goal.of}"
    return f"{sign} {limit:.3g} {goal.unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
