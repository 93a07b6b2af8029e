"""The folders that inputs may name, and agents whose inputs are checked against them."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.agents import Agent, AgentContext, AgentResult
from orchestrator.errors import AgentError


class Roots:
    """The folders of `[roots]` in agents.toml, by name.

    Args:
        folders: Name → existing folder.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = {name: folder.resolve() for name, folder in folders.items()}

    def path(self, name: str, value: Any) -> Path:
        """Where a path in a request really lies.

        Args:
            name: Of the input, for the error.
            value: An absolute path, or one that begins with the name of a root.

        Returns:
            The path with all links followed. Nothing has to exist there.

        Raises:
            AgentError: It is no path (`invalid_input`) or lies elsewhere (`path_not_allowed`).
        """
        if not isinstance(value, str) or not value or "\0" in value:
            raise AgentError(f"The value of inputs.{name} has to be a path.", code="invalid_input")
        path = Path(value)
        if not path.is_absolute():
            first, *rest = path.parts or ("",)
            path = self._folders[first].joinpath(*rest) if first in self._folders else path
        try:
            real = path.resolve() if path.is_absolute() else None
        except (OSError, RuntimeError, ValueError):  # links in a circle, or no name of a file
            real = None
        if real is None or not any(real.is_relative_to(root) for root in self._folders.values()):
            names = ", ".join(self._folders) or "none is configured"
            raise AgentError(
                f"The path in inputs.{name} lies in none of the folders that may be named here "
                f"({names}). It has to begin with one of these names, or be an absolute path.",
                code="path_not_allowed",
            )
        return real


class CheckedAgent:
    """An agent that sees its inputs with defaults filled in and paths checked.

    Args:
        agent: The agent itself.
        defaults: Inputs that a request may leave out.
        paths: Names of inputs that are paths; the agent gets them resolved.
        roots: Where those paths may lie.
    """

    def __init__(
        self, agent: Agent, *, defaults: Mapping[str, Any], paths: list[str], roots: Roots
    ) -> None:
        self.role = agent.role
        self.name = agent.name
        self.description = agent.description
        self._agent = agent
        self._defaults = defaults
        self._paths = paths
        self._roots = roots

    async def run(self, context: AgentContext) -> AgentResult | None:
        """Run the agent with checked inputs."""
        inputs = {**self._defaults, **context.inputs}
        for name in self._paths:
            if inputs.get(name) is not None:
                # In a thread: a file server that is gone must hold this agent alone.
                inputs[name] = str(await asyncio.to_thread(self._roots.path, name, inputs[name]))
        checked = copy.copy(context)
        checked.inputs = inputs
        return await self._agent.run(checked)
