"""`kind = "python"`: a class, an object or an async function as an agent."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchestrator.agents import AgentContext, AgentResult


class PythonAgent:
    """An agent that calls an async function.

    Args:
        role: The role.
        name: Display name.
        description: What it does, in a sentence.
        call: Given the context of an attempt; returns an `AgentResult`, a dict or list (the JSON
            output), a str (the output text) or None.
    """

    def __init__(
        self,
        role: str,
        name: str,
        description: str,
        *,
        call: Callable[[AgentContext], Awaitable[Any]],
    ) -> None:
        self.role = role
        self.name = name
        self.description = description
        self._call = call

    async def run(self, context: AgentContext) -> AgentResult | None:
        """Call the function and make a result of what it returns.

        Raises:
            TypeError: It returned something else.
        """
        returned = await self._call(context)
        if returned is None or isinstance(returned, AgentResult):
            return returned
        if isinstance(returned, str):
            return AgentResult(text=returned)
        if isinstance(returned, dict | list):
            return AgentResult(output=returned)
        raise TypeError(f"agent {self.role} returned {type(returned).__name__}")


def python_agent(
    target: Any,
    role: str,
    *,
    name: str | None = None,
    description: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> PythonAgent:
    """Make an agent of what an import path names.

    Args:
        target: A class with ``async def run(self, context)``, an instance of one, or an async
            function of the context.
        role: The role it gets, whatever it says itself.
        name: Display name; else what it says itself, else the role.
        description: A sentence; else what it says itself, else the first line of its docstring.
        options: Keyword arguments for the class.

    Raises:
        ValueError: It cannot be an agent, or the options do not fit.
    """
    is_function = inspect.isroutine(target)
    if not inspect.iscoroutinefunction(target if is_function else getattr(target, "run", None)):
        raise ValueError(
            "this is no agent: it has to be a class or an object with `async def run(self, "
            'context)`, or an async function; what blocks belongs into kind = "background"'
        )
    if inspect.isclass(target):
        target = instance(target, options)
    elif options:
        raise ValueError("options are for a class, and this is none")
    return PythonAgent(
        role,
        name or str(getattr(target, "name", "") or role),
        description or described(target),
        call=target if is_function else target.run,
    )


def instance(target: type, options: Mapping[str, Any] | None) -> Any:
    """An instance of a class of somebody else.

    Raises:
        ValueError: The options do not fit its constructor, or it raised; the text says why.
    """
    try:
        inspect.signature(target).bind(**(options or {}))
    except TypeError as error:
        raise ValueError(f"the options do not fit {target.__name__}: {error}") from None
    try:
        return target(**(options or {}))
    except Exception as error:  # a constructor of somebody else
        raise ValueError(f"{target.__name__} raised {type(error).__name__}: {error}") from error


def described(target: Any) -> str:
    """What an object says it does: its `description`, else the first line of its docstring."""
    description = getattr(target, "description", None)
    if isinstance(description, str) and description:
        return description
    doc = inspect.getdoc(target if inspect.isroutine(target) else type(target)) or ""
    return doc.partition("\n")[0]
