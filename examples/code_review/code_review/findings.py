"""What the linters say, counted: their JSON holds every finding with all its context."""

from __future__ import annotations

import os.path
from typing import Any

SEVERITIES = ("HIGH", "MEDIUM", "LOW")
MAX_FINDINGS = 50
"""Security findings that are listed one by one."""


def lint_rules(output: list[dict[str, Any]], root: str) -> list[dict[str, Any]]:
    """Ruff's findings by rule, most frequent first: code, count, files, and the first of them."""
    rules: dict[str, dict[str, Any]] = {}
    files: dict[str, set[str]] = {}
    for finding in output:
        code = finding.get("code") or "invalid-syntax"
        first = {
            "path": os.path.relpath(finding["filename"], root),
            "line": finding["location"]["row"],
            "message": finding["message"],
        }
        rule = rules.setdefault(code, {"code": code, "count": 0, "first": first})
        rule["count"] += 1
        files.setdefault(code, set()).add(finding["filename"])
    for code, rule in rules.items():
        rule["files"] = len(files[code])
    return sorted(rules.values(), key=lambda rule: (-rule["count"], rule["code"]))


def security_findings(output: dict[str, Any], root: str) -> list[dict[str, Any]]:
    """Bandit's findings, the gravest first."""
    findings = [
        {
            "severity": finding["issue_severity"],
            "confidence": finding["issue_confidence"],
            "test": finding["test_id"],
            "path": os.path.relpath(finding["filename"], root),
            "line": finding["line_number"],
            "message": finding["issue_text"],
        }
        for finding in output["results"]
    ]
    return sorted(findings, key=lambda f: (*_gravity(f), f["path"], f["line"]))


def unread_files(output: dict[str, Any], root: str) -> list[str]:
    """Files bandit could not read, with its reason."""
    return [
        f"{os.path.relpath(error['filename'], root)} ({error['reason']})"
        for error in output["errors"]
    ]


def _gravity(finding: dict[str, Any]) -> tuple[int, int]:
    rank = {severity: index for index, severity in enumerate(SEVERITIES)}
    return rank.get(finding["severity"], 3), rank.get(finding["confidence"], 3)
