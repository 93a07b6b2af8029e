"""The review as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .findings import MAX_FINDINGS, SEVERITIES
from .markdown import code, number, table, text

MAX_LANGUAGES = 12
MAX_RULES = 20

_ABOUT_HOT_SPOTS = (
    "Files that change often *and* are hard to follow. A mistake here is likely, and simplifying "
    "one of them pays most. The score is commits times complexity."
)
_ABOUT_COMPLEXITY = (
    "Cyclomatic complexity counts the paths through a function. Above 10 it is worth a second "
    "look, above 20 it is hard to test."
)

Review = dict[str, Any]


def review_page(review: Review) -> str:
    """The whole page; sections of missing agents are left out and named on top."""
    lines = [f"# Review of {text(review['name'])}", ""]
    if review["commit"]:
        lines += [f"Commit {code(review['commit'][:12])}.", ""]
    if review["missing"]:
        roles = ", ".join(review["missing"])
        lines += [f"**Incomplete:** nothing was delivered by {roles}.", ""]
    lines += _numbers(review["summary"])
    for section in (_hot_spots, _functions, _languages, _lint, _security, _notes):
        lines += section(review)
    return "\n".join(lines).rstrip() + "\n"


def _numbers(summary: Review) -> list[str]:
    rows = []
    if "files" in summary:
        rows += [("Files", number(summary["files"])), ("Lines", number(summary["lines"]))]
    if "commits" in summary:
        span = f" ({summary['first']} to {summary['last']})" if summary.get("first") else ""
        rows += [
            ("Commits", f"{number(summary['commits'])}{span}"),
            ("Authors", number(summary["authors"])),
        ]
    if "functions" in summary:
        rows.append(("Functions", number(summary["functions"])))
        rows.append(("Mean complexity", f"{summary['mean']:.1f}"))
    if "lintFindings" in summary:
        rows.append(("Lint findings", number(summary["lintFindings"])))
    if "securityFindings" in summary:
        counts = summary["securityFindings"]
        shown = ", ".join(f"{number(counts[s.lower()])} {s.lower()}" for s in SEVERITIES)
        rows.append(("Security findings", shown))
    return table(["", "#"], rows)


def _hot_spots(review: Review) -> list[str]:
    if not review["hotSpots"]:
        return []
    rows = [
        (
            code(spot["path"]), number(spot["commits"]), number(spot["authors"]),
            f"+{number(spot['added'])} -{number(spot['deleted'])}",
            number(spot["complexity"]), number(spot["score"]),
        )
        for spot in review["hotSpots"]
    ]  # fmt: skip
    return [
        "## Where to look first",
        "",
        _ABOUT_HOT_SPOTS,
        "",
        *table(["File", "#Commits", "#Authors", "#Lines", "#Complexity", "#Score"], rows),
    ]


def _functions(review: Review) -> list[str]:
    if not review["mostComplex"]:
        return []
    rows = [
        (
            code(function["name"]), code(f"{function['path']}:{function['line']}"),
            number(function["complexity"]), number(function["lines"]),
            number(function["parameters"]),
        )
        for function in review["mostComplex"]
    ]  # fmt: skip
    return [
        "## Most complex functions",
        "",
        _ABOUT_COMPLEXITY,
        "",
        *table(["Function", "Where", "#Complexity", "#Lines", "#Parameters"], rows),
    ]


def _languages(review: Review) -> list[str]:
    languages = review["languages"]
    if not languages:
        return []
    total = sum(language["lines"] for language in languages) or 1
    rows = [
        (
            text(language["language"]), number(language["files"]), number(language["lines"]),
            f"{100 * language['lines'] / total:.1f} %",
        )
        for language in languages[:MAX_LANGUAGES]
    ]  # fmt: skip
    more = len(languages) - MAX_LANGUAGES
    return [
        "## Languages",
        "",
        *table(["Language", "#Files", "#Lines", "#Share"], rows),
        *([f"And {more} more.", ""] if more > 0 else []),
    ]


def _lint(review: Review) -> list[str]:
    if "lintFindings" not in review["summary"]:
        return []
    rules = review["lint"]
    if not rules:
        return ["## Lint", "", "Nothing found.", ""]
    rows = [
        (
            code(rule["code"]), number(rule["count"]), number(rule["files"]),
            text(rule["first"]["message"]),
            code(f"{rule['first']['path']}:{rule['first']['line']}"),
        )
        for rule in rules[:MAX_RULES]
    ]  # fmt: skip
    more = sum(rule["count"] for rule in rules[MAX_RULES:])
    return [
        "## Lint findings by rule",
        "",
        *table(["Rule", "#Findings", "#Files", "Example", "Where"], rows),
        *([f"And {number(more)} more of other rules.", ""] if more else []),
    ]


def _security(review: Review) -> list[str]:
    if "securityFindings" not in review["summary"]:
        return []
    risks = review["security"]
    if not risks:
        return ["## Security", "", "Nothing found.", ""]
    grave = [risk for risk in risks if risk["severity"] != "LOW"]
    rows = [
        (
            risk["severity"].lower(), risk["confidence"].lower(), code(risk["test"]),
            text(risk["message"]), code(f"{risk['path']}:{risk['line']}"),
        )
        for risk in grave[:MAX_FINDINGS]
    ]  # fmt: skip
    more = len(grave) - MAX_FINDINGS
    return [
        "## Security findings by severity",
        "",
        *(table(["Severity", "Confidence", "Test", "What", "Where"], rows) if rows else []),
        *([f"And {number(more)} more, all in report.json.", ""] if more > 0 else []),
        *_low_risks([risk for risk in risks if risk["severity"] == "LOW"]),
    ]


def _low_risks(risks: list[dict[str, Any]]) -> list[str]:
    """By test, since there are many of them and few matter; each stands in report.json."""
    if not risks:
        return []
    counts = Counter(risk["test"] for risk in risks)
    first = {risk["test"]: risk for risk in reversed(risks)}
    rows = [
        (
            code(test), number(count), text(first[test]["message"]),
            code(f"{first[test]['path']}:{first[test]['line']}"),
        )
        for test, count in counts.most_common()
    ]  # fmt: skip
    return ["Low severity, by test:", "", *table(["Test", "#Findings", "Example", "Where"], rows)]


def _notes(review: Review) -> list[str]:
    if not review["notes"]:
        return []
    return ["## Notes", "", *(f"- {text(note)}" for note in review["notes"]), ""]
