"""An export as a report to read: Markdown, the agents in their order, each with what it delivered.

The text of an agent is that of its last attempt, as in the snapshot. It is found by two walks over
the log: the first finds where each agent's text lies and which fence it needs, the second writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from orchestrator.runtime.exports.markdown import Fence, code, fenced, inline, visible
from orchestrator.runtime.exports.source import ExportFile, ExportSource


@dataclass(slots=True)
class _Text:
    """Where the text of an agent's last attempt lies in the log."""

    attempt: int
    first: int = 0
    last: int = 0
    fence: Fence = field(default_factory=Fence)


async def write_report(source: ExportSource, *, linked: bool = False) -> AsyncIterator[bytes]:
    """Write the report.

    Args:
        source: The task.
        linked: Whether files lie beside the report, as in an archive.
    """
    yield _head(source).encode()
    texts = await _find_texts(source)
    for agent in source.entry["agents"]:
        role = agent["agentRole"]
        yield _about(agent).encode()
        text = texts.get(role)
        if text is not None and text.first:
            yield f"{text.fence.line}\n".encode()
            async for piece in _write_text(source, role, text):
                yield piece
            yield f"\n{text.fence.line}\n\n".encode()
        output = await source.output(role)
        if output is not None:
            yield _result(output).encode()
        files = [file for file in source.files if file.artifact.role == role]
        if files:
            yield _files(files, linked).encode()


def _head(source: ExportSource) -> str:
    entry = source.entry
    facts = {
        "Task": code(source.task_id),
        "Owner": inline(entry["owner"]),
        "Status": inline(entry["status"]),
        "Error": inline(entry["error"]) if "error" in entry else None,
        "Created": entry["createdAt"],
        "Ended": entry.get("endedAt"),
        "Active": _seconds(entry["activeTime"]),
        "Mode": inline(entry["executionMode"]),
        **{inline(key): inline(value) for key, value in entry.get("metadata", {}).items()},
        "Exported": f"{source.exported_at}, up to event {source.last_event_id}",
    }
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items() if value)
    text = f"# {inline(entry['title'])}\n\n| | |\n| --- | --- |\n{rows}\n"
    text += f"## Request\n\n{fenced(entry['description'])}\n"
    if "inputs" in entry:
        text += f"### Inputs\n\n{_json(entry['inputs'])}\n"
    return text


def _about(agent: dict[str, Any]) -> str:
    """Heading of an agent: who it is and how it went."""
    facts = [inline(agent["status"])]
    if agent["attempt"]:
        facts.append(f"attempt {agent['attempt']}")
    if "executionTime" in agent:
        facts.append(_seconds(agent["executionTime"]))
    text = f"## {inline(agent['agentName'])}\n\n"
    text += f"{code(agent['agentRole'])} · {' · '.join(facts)}\n\n"
    if "error" in agent:
        text += f"{fenced(agent['error'])}\n"
    return text


def _result(output: Any) -> str:
    return f"### Result\n\n{_json(output)}\n"


def _files(files: list[ExportFile], linked: bool) -> str:
    lines = []
    for file in files:
        name = inline(file.artifact.name)
        shown = f"[{name}](<{file.path}>)" if linked else name
        lines.append(
            f"- {shown} ({inline(file.artifact.media_type)}, {file.artifact.size} bytes)\n"
        )
    return f"### Files\n\n{''.join(lines)}\n"


def _json(value: Any) -> str:
    return fenced(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(), "json")


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.1f} s"


async def _find_texts(source: ExportSource) -> dict[str, _Text]:
    """Walk over the log once: the last attempt of each agent, and the bounds of its text."""
    texts: dict[str, _Text] = {}
    async for page in source.events():
        for seq, type, data in page:
            if type == "agent_start":
                event = orjson.loads(data)
                texts[event["agentRole"]] = _Text(event["attempt"])
            elif type == "agent_progress" and '"content":' in data:
                event = orjson.loads(data)
                text = texts.get(event["agentRole"])
                if text is not None and _belongs(event, text):
                    text.first = text.first or seq
                    text.last = seq
                    text.fence.measure(event["content"])
    return texts


async def _write_text(source: ExportSource, role: str, text: _Text) -> AsyncIterator[bytes]:
    mark = f'"agentRole":"{role}"'  # roles have an alphabet without anything JSON would escape
    async for page in source.events(after=text.first - 1, last=text.last):
        pieces = []
        for _, type, data in page:
            if type == "agent_progress" and mark in data and '"content":' in data:
                event = orjson.loads(data)
                if event["agentRole"] == role and _belongs(event, text):
                    pieces.append(event["content"])
        if pieces:
            yield visible("".join(pieces)).encode("utf-8", "replace")


def _belongs(event: dict[str, Any], text: _Text) -> bool:
    return "content" in event and event["attempt"] == text.attempt
