"""Placeholders in the arguments of a command, and what may take their place.

A placeholder is a dotted name in braces, e.g. ``{inputs.path}``; any other brace is itself, and
``{{name}}`` is a literal ``{name}``. What takes its place stays inside its argument, since no
shell reads it, and it may not make that argument an option of the program.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.agents import AgentContext
from orchestrator.errors import AgentError
from orchestrator.events import to_json

KNOWN = (
    "{python}", "{folder}", "{work_dir}", "{task.id}", "{task.title}", "{task.description}",
    "{inputs.NAME}", "{output.ROLE.KEY}",
)  # fmt: skip

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([A-Za-z_][\w.-]*)\}")
_VALID = re.compile(
    r"python|folder|work_dir|task\.(id|title|description)|inputs\.[\w-]+(\.[\w-]+)*|output\..+\.[\w-]+"
)


class Arguments:
    """The arguments of a command with placeholders in them.

    Args:
        templates: The program first. It may hold no placeholder but ``{python}``, the interpreter
            this process runs on, and ``{folder}``.
        folder: What ``{folder}`` stands for: where agents.toml lies.

    Raises:
        ValueError: A placeholder is not one of `KNOWN`, or the program has another.
    """

    def __init__(self, templates: Sequence[str], *, folder: Path = Path()) -> None:
        self._templates = tuple(templates)
        self._fixed = {"python": sys.executable, "folder": str(folder)}
        for index, template in enumerate(templates):
            if "\0" in template:
                raise ValueError("an argument cannot hold a NUL character")
            for match in _PLACEHOLDER.finditer(template):
                name = match[2]
                if name is None:
                    continue
                if not _VALID.fullmatch(name):
                    raise ValueError(f"unknown placeholder {{{name}}}; known: {', '.join(KNOWN)}")
                if index == 0 and name not in self._fixed:
                    raise ValueError("the program itself cannot come from a task")

    @property
    def program(self) -> str:
        """The program to run."""
        return _PLACEHOLDER.sub(self._fixed_part, self._templates[0])

    @property
    def module(self) -> str | None:
        """The module of ``{python} -m module``, wherever that stands; the last one, or None."""
        arguments = self._templates
        calls = zip(arguments, arguments[1:], arguments[2:], strict=False)
        modules = [module for *call, module in calls if call == ["{python}", "-m"]]
        return modules[-1] if modules else None

    def filled(self, context: AgentContext, work_dir: Path) -> list[str]:
        """The arguments of one attempt, without the program.

        Raises:
            AgentError: A value is missing or cannot be an argument (`invalid_input`).
        """
        return [self._fill(template, context, work_dir) for template in self._templates[1:]]

    def _fill(self, template: str, context: AgentContext, work_dir: Path) -> str:
        names: list[str] = []

        def replacement(match: re.Match[str]) -> str:
            name = match[2]
            if name is None or name in self._fixed:
                return self._fixed_part(match)
            if name == "work_dir":
                return str(work_dir)
            names.append(name)
            return _text(name, _value(name, context))

        argument = _PLACEHOLDER.sub(replacement, template)
        if argument.startswith("-") and not template.startswith("-"):
            raise AgentError(
                f"The value of {names[0]} starts with “-” and would be taken for an option.",
                code="invalid_input",
            )
        return argument

    def _fixed_part(self, match: re.Match[str]) -> str:
        literal, name = match.groups()
        return f"{{{literal}}}" if name is None else self._fixed[name]


def _value(name: str, context: AgentContext) -> Any:
    source, _, rest = name.partition(".")
    if source == "task":
        task = context.task
        return {"id": task.task_id, "title": task.title, "description": task.description}[rest]
    if source == "output":
        role, _, key = rest.rpartition(".")
        earlier = context.outputs.get(role)
        return _looked_up(earlier.output if earlier else None, [key])
    return _looked_up(context.inputs, rest.split("."))


def _looked_up(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(name: str, value: Any) -> str:
    if value is None:
        raise AgentError(
            f"The task does not say {name}, which this agent needs.", code="invalid_input"
        )
    text = value if isinstance(value, str) else to_json(value)
    if "\0" in text:
        raise AgentError(f"The value of {name} holds a NUL character.", code="invalid_input")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise AgentError(f"The value of {name} is no valid text.", code="invalid_input") from None
    return text
