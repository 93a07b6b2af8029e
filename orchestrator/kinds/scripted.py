"""Agents that play a script, for tests and measurements; offered only when a setting says so.

The script comes with the task as ``inputs.script``: a list of objects, each for one ``agent``,
played in order. This is the agent that speed is measured with, so it does nothing but play.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

from orchestrator.agents import AgentContext, AgentRegistry
from orchestrator.errors import AgentError

ROLES = tuple(f"scripted-{number}" for number in range(1, 9))

_PREFIX = 9  # eight digits and a space
_MAX_REPEAT = 100_000_000  # eight digits
_MAX_DELAY = 31_536_000.0  # a year, as long as a task may take
_MAX_SIZE = 64 * 1024 * 1024  # one text is built in memory


class _Part(NamedTuple):
    """One entry of a script."""

    texts: list[str]
    delay: float = 0.0
    outcome: str = "ok"
    repeat: int = 0
    size: int = _PREFIX
    nonce: bool = False
    stamp: bool = False
    kind: str = "message"

    def lines(self) -> Iterator[str]:
        """Its texts, without what is added when they are emitted."""
        yield from self.texts
        filling = "x" * (self.size - _PREFIX)
        for number in range(self.repeat):
            yield f"{number:08d} {filling}"


class ScriptedAgent:
    """Plays its part of the script."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.name = role.replace("-", " ").capitalize()
        self.description = "Plays its part of inputs.script, for tests and measurements."

    async def run(self, context: AgentContext) -> None:
        """Play.

        Raises:
            AgentError: The script is wrong (`invalid_script`), or it says so.
        """
        for part in _parts(context.inputs.get("script"), self.role):
            emit = context.write if part.kind == "content" else context.progress
            delay, nonce, stamp = part.delay, part.nonce, part.stamp
            for text in part.lines():
                if delay:
                    await asyncio.sleep(delay)
                if nonce:
                    text += f" #{secrets.token_hex(4)}"
                if stamp:
                    text += f" @t={time.monotonic_ns()}@"
                await emit(text)
            if part.outcome == "fail":
                raise AgentError("scripted failure")
            if part.outcome == "hang":
                await asyncio.get_running_loop().create_future()


def register_scripted(registry: AgentRegistry) -> None:
    """Add the agents `scripted-1` … `scripted-8`."""
    for role in ROLES:
        registry.register(ScriptedAgent(role), kind="scripted")


def _parts(script: Any, role: str) -> list[_Part]:
    if script is None:
        return []
    if not isinstance(script, list):
        _refuse("", "has to be a list")
    parts = []
    for index, entry in enumerate(script):
        if not isinstance(entry, dict):
            _refuse(f"/{index}", "has to be an object")
        if not isinstance(entry.get("agent"), str):
            _refuse(f"/{index}/agent", "has to name an agent")
        if entry["agent"] == role:
            parts.append(_part(entry, f"/{index}"))
    return parts


def _part(entry: dict[str, Any], pointer: str) -> _Part:
    fields: dict[str, Any] = {"texts": []}
    for name, value in entry.items():
        if name == "agent":
            continue
        wrong = _CHECKS[name](value) if name in _CHECKS else "is no field of a script"
        if wrong:
            _refuse(f"{pointer}/{name}", wrong)
        fields[name] = value
    if "texts" in entry and "repeat" in entry:
        _refuse(f"{pointer}/repeat", "cannot stand beside texts")
    return _Part(**fields)


def _check_texts(value: Any) -> str:
    good = isinstance(value, list) and all(isinstance(text, str) for text in value)
    return "" if good else "has to be a list of texts"


def _check_delay(value: Any) -> str:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if good and 0 <= value <= _MAX_DELAY else "has to be a number of seconds from 0"


def _check_flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "has to be true or false"


def _check_count(value: Any, least: int, most: int) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return "" if good else f"has to be a whole number from {least} to {most}"


def _check_word(value: Any, *words: str) -> str:
    return "" if value in words else f"has to be one of {', '.join(words)}"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "texts": _check_texts,
    "delay": _check_delay,
    "outcome": lambda value: _check_word(value, "ok", "fail", "hang"),
    "repeat": lambda value: _check_count(value, 0, _MAX_REPEAT),
    "size": lambda value: _check_count(value, _PREFIX, _MAX_SIZE),
    "nonce": _check_flag,
    "stamp": _check_flag,
    "kind": lambda value: _check_word(value, "message", "content"),
}


def _refuse(pointer: str, detail: str) -> NoReturn:
    raise AgentError(
        f"The script is wrong: /inputs/script{pointer} {detail}.", code="invalid_script"
    )
