"""TypeScript types of the events and states, made from the Python models.

    python -m tests.web.wire_types    writes web/src/client/wire.ts

`test_wire_types.py` fails when the file is not what this makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from orchestrator.events import EVENT, EVENT_TYPES
from orchestrator.tasks import END_STATES, AgentStatus, ExecutionMode, TaskRequest, TaskStatus
from tests.server import ROOT

TARGET = ROOT / "web" / "src" / "client" / "wire.ts"
_HEAD = """\
// Made from the Python models by `python -m tests.web.wire_types`; a test fails when it is stale.
"""
_SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


def render() -> str:
    """The whole file."""
    events = EVENT.json_schema(by_alias=True)
    request = TaskRequest.model_json_schema(by_alias=True)
    models = {**request.pop("$defs"), "TaskRequest": request, **events["$defs"]}
    union = [option["$ref"].rpartition("/")[2] for option in events["oneOf"]]
    parts = [_HEAD]
    parts += [_interface(name, models[name], name in union) for name in sorted(models)]
    parts.append(
        f"/** Any event of a task's log. */\nexport type TaskEvent = {' | '.join(union)};\n"
    )
    parts.append(_words("EVENT_TYPES", "EventType", EVENT_TYPES))
    parts.append(_words("TASK_STATUSES", "TaskStatus", [s.value for s in TaskStatus]))
    parts.append(_words("END_STATES", "EndState", [s.value for s in TaskStatus if s in END_STATES]))
    parts.append(_words("AGENT_STATUSES", "AgentStatus", [s.value for s in AgentStatus]))
    parts.append(_words("EXECUTION_MODES", "ExecutionMode", get_args(ExecutionMode)))
    return "\n".join(parts)


def _words(constant: str, name: str, words: Any) -> str:
    listed = ", ".join(f'"{word}"' for word in words)
    return (
        f"export const {constant} = [{listed}] as const;\n"
        f"export type {name} = (typeof {constant})[number];\n"
    )


def _interface(name: str, schema: dict[str, Any], is_event: bool) -> str:
    lines = [f"/** {' '.join(schema['description'].split())} */", f"export interface {name} {{"]
    required = set(schema.get("required", ()))
    for field, kind in schema["properties"].items():
        always = field in required or "const" in kind or (is_event and field == "seq")
        if "description" in kind:
            lines.append(f"  /** {kind['description']} */")
        lines.append(f"  {field}{'' if always else '?'}: {_type(kind)};")
    return "\n".join([*lines, "}\n"])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if "anyOf" in schema:  # an absent value is left out on the wire, never null
        return " | ".join(_type(option) for option in schema["anyOf"] if option != {"type": "null"})
    if schema.get("type") == "array":
        inner = _type(schema["items"])
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if schema.get("type") == "object":
        patterns = list(schema.get("patternProperties", {}).values())
        values = patterns[0] if patterns else schema.get("additionalProperties", True)
        return f"Record<string, {_type(values) if isinstance(values, dict) else 'unknown'}>"
    return _SIMPLE.get(schema.get("type", ""), "unknown")


def main(target: Path = TARGET) -> None:
    """Write the file."""
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
