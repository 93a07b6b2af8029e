"""Agents that play a script, for tests and measurements; offered only when a setting says so.

The script comes with the task as ``inputs.script``: a list of objects, each for one ``agent``,
played in order. This is the agent that speed is measured with, so it does nothing but play.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
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

    agent: str
    texts: Sequence[str] = ()
    delay: float = 0.0
    outcome: str = "ok"
    repeat: int = 0
    size: int = _PREFIX
    nonce: bool = False
    stamp: bool = False
    kind: str = "message"

    def lines(self) -> Iterable[str]:
        """Its texts, without what is added when they are emitted."""
        if not self.repeat:
            return self.texts
        filling = "x" * (self.size - _PREFIX)
        return (f"{number:08d} {filling}" for number in range(self.repeat))


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
        agent = entry.get("agent")
        if agent == role:
            parts.append(_part(entry, index))
        elif not isinstance(agent, str):
            _refuse(f"/{index}/agent", "has to name an agent")
    return parts


def _part(entry: dict[str, Any], index: int) -> _Part:
    for name, value in entry.items():
        holds, words = _FIELDS.get(name, _NO_FIELD)
        if not holds(value):
            _refuse(f"/{index}/{name}", words)
    if "texts" in entry and "repeat" in entry:
        _refuse(f"/{index}/repeat", "cannot stand beside texts")
    return _Part(**entry)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_delay(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _MAX_DELAY


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_repeat(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_REPEAT  # true and false are no numbers


def _is_size(value: Any) -> bool:
    return type(value) is int and _PREFIX <= value <= _MAX_SIZE


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "agent": (bool, "has to name an agent"),  # this one: it has chosen the entry
    "texts": (_is_texts, "has to be a list of texts"),
    "delay": (_is_delay, "has to be a number of seconds from 0"),
    "outcome": (("ok", "fail", "hang").__contains__, "has to be one of ok, fail, hang"),
    "repeat": (_is_repeat, f"has to be a whole number from 0 to {_MAX_REPEAT}"),
    "size": (_is_size, f"has to be a whole number from {_PREFIX} to {_MAX_SIZE}"),
    "nonce": (_is_flag, "has to be true or false"),
    "stamp": (_is_flag, "has to be true or false"),
    "kind": (("message", "content").__contains__, "has to be one of message, content"),
}
"""Of each field of an entry: whether a value is right, and what to say if it is not."""

_NO_FIELD = (lambda value: False, "is no field of a script")


def _refuse(pointer: str, detail: str) -> NoReturn:
    raise AgentError(
        f"The script is wrong: /inputs/script{pointer} {detail}.", code="invalid_script"
    )
