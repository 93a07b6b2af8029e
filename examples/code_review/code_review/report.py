"""What the others found, put together for the people who maintain the code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.agents import AgentContext, AgentOutput, AgentResult

from .findings import SEVERITIES, lint_rules, security_findings, unread_files
from .pages import review_page

TEAM = ("inventory", "history", "complexity", "lint", "security")
MAX_HOT_SPOTS = 15


class Report:
    """Writes ``report.md`` and ``report.json``; what is missing is named in them."""

    async def run(self, context: AgentContext) -> AgentResult:
        """Write both, and show the first."""
        root = str(context.inputs.get("path", ""))
        await context.progress("Putting the findings together")
        review = put_together(context.outputs, root)
        page = review_page(review)
        data = json.dumps(review, indent=2, ensure_ascii=False)
        await context.save_artifact("report.md", page, "text/markdown")
        await context.save_artifact("report.json", data, "application/json")
        await context.write(page)
        return AgentResult(output=review["summary"])


def put_together(outputs: Mapping[str, AgentOutput], root: str) -> dict[str, Any]:
    """Everything the report says, as JSON.

    Args:
        outputs: Of the agents that delivered, by role.
        root: The folder under review.
    """
    found = {role: outputs[role].output for role in TEAM if role in outputs}
    inventory = found.get("inventory", {})
    history = found.get("history", {})
    complexity = found.get("complexity", {})
    rules = lint_rules(found.get("lint", []), root)
    risks = security_findings(found["security"], root) if "security" in found else []
    return {
        "name": inventory.get("name") or Path(root).name,
        "commit": inventory.get("commit", ""),
        "missing": [role for role in TEAM if role not in found],
        "summary": _summary(found, rules, risks),
        "hotSpots": hot_spots(history, complexity)[:MAX_HOT_SPOTS],
        "mostComplex": complexity.get("mostComplex", [])[:MAX_HOT_SPOTS],
        "languages": inventory.get("languages", []),
        "largest": inventory.get("largest", []),
        "lint": rules,
        "security": risks,
        "notes": _notes(found, root),
    }


def hot_spots(history: dict[str, Any], complexity: dict[str, Any]) -> list[dict[str, Any]]:
    """Files by commits times complexity, the highest first; those with either at 0 left out."""
    measured = {file["path"]: file for file in complexity.get("byFile", [])}
    spots = [
        {
            **file,
            "complexity": measured[file["path"]]["complexity"],
            "score": file["commits"] * measured[file["path"]]["complexity"],
        }
        for file in history.get("files", [])
        if file["path"] in measured
    ]
    spots = [spot for spot in spots if spot["score"]]
    return sorted(spots, key=lambda spot: (-spot["score"], spot["path"]))


def _summary(
    found: Mapping[str, Any], rules: list[dict[str, Any]], risks: list[dict[str, Any]]
) -> dict[str, Any]:
    """The numbers on top; those of a missing agent are left out."""
    summary: dict[str, Any] = {}
    for role, names in {
        "inventory": ("files", "textFiles", "lines"),
        "history": ("commits", "authors", "first", "last"),
        "complexity": ("functions", "mean"),
    }.items():
        if role in found:
            summary |= {name: found[role].get(name) for name in names}
    if "lint" in found:
        summary["lintFindings"] = sum(rule["count"] for rule in rules)
    if "security" in found:
        counts = Counter(risk["severity"] for risk in risks)
        summary["securityFindings"] = {name.lower(): counts[name] for name in SEVERITIES}
    return summary


def _notes(found: Mapping[str, Any], root: str) -> list[str]:
    notes = list(found.get("history", {}).get("notes", []))
    for role, what in (("inventory", "Lines were not counted in"), ("complexity", "Not measured:")):
        for reason, count in sorted(found.get(role, {}).get("skipped", {}).items()):
            notes.append(f"{what} {count:,} {'file' if count == 1 else 'files'}: {reason}.")
    if "security" in found:
        unread = unread_files(found["security"], root)
        notes += [f"Not checked for security: {name}." for name in unread]
    return notes
