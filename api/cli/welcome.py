"""What `poststream serve` prints once it serves: where it is, and a line that shows it at work."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import orjson

from api.auth import ADMIN, EXECUTE, READ
from api.cli.signing import sign
from api.cli.version import installed_version
from api.settings import Settings
from orchestrator.agents import AgentRegistry
from orchestrator.kinds.scripted import ROLES as SCRIPTED

LOGIN_DAYS = 7
REVIEW = ("inventory", "history", "complexity", "lint", "security", "report")
"""The agents of the code-review team; only it knows what to do with a repository."""


def welcome(settings: Settings, registry: AgentRegistry) -> str:
    """The text; a token stands in it in development only.

    Args:
        settings: With the port that is really listened on.
        registry: The agents that are offered.
    """
    lines = [f"Poststream {installed_version()} serves on {settings.url}", ""]
    lines.append(f"  Data folder  {settings.data_dir.absolute()}")
    if settings.database_url is not None:
        lines.append(f"  Database     {settings.database_path or 'temporary, gone at exit'}")
    available = [r.agent.role for r in registry if r.unavailable is None]
    lines.append(f"  Agents       {', '.join(available) or 'none'}")
    lines += [f"               {r.agent.role}: {r.unavailable}" for r in registry if r.unavailable]
    token = _login_token(settings)
    if token is not None:
        lines.append(f"  Login        {settings.url}/login#token={token}")
    if not len(registry):
        lines += [
            "",
            "There are no agents: POSTSTREAM_AGENTS_FILE names the file that declares them.",
        ]
    elif available and token is not None:
        body = example_body(available)
        lines += [
            "",
            f"{body['description']}, and watch:",
            "",
            curl_line(settings.url, token, body),
        ]
    return "\n".join([*lines, ""])


def curl_line(url: str, token: str, body: dict[str, Any]) -> str:
    """A line for a shell that starts a task and streams it."""
    words = (
        "curl", "-N",
        "-H", f"Authorization: Bearer {token}",
        "-H", "Content-Type: application/json",
        "-d", orjson.dumps(body).decode(),
        f"{url}/api/agents/execute/stream",
    )  # fmt: skip
    return shlex.join(words)


def example_body(available: list[str]) -> dict[str, Any]:
    """A request this team can do something with.

    Args:
        available: The roles that can be run, at least one.
    """
    if {"inventory", "report"} <= set(available):
        return {
            "description": "Review this repository",
            "selectedAgents": [role for role in REVIEW if role in available],
            "onAgentError": "continue",  # a report on what there is
            "inputs": {"path": str(repository(Path.cwd()))},
        }
    roles = available[:3]
    body: dict[str, Any] = {
        "description": "Try the first agents",
        "selectedAgents": roles,
        "executionMode": "parallel",
    }
    if script := [_part(role) for role in roles if role in SCRIPTED]:
        body["inputs"] = {"script": script}
    return body


def repository(folder: Path) -> Path:
    """The root of the git work tree a folder lies in; the folder itself when it lies in none."""
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        if (parent / ".git").exists():
            return parent
    return folder


def _part(role: str) -> dict[str, Any]:
    return {"agent": role, "texts": ["Reading…", "Thinking…", "Writing…"], "delay": 0.3}


def _login_token(settings: Settings) -> str | None:
    if settings.environment != "development":
        return None
    return sign(
        settings,
        subject="local",
        scopes=(READ, EXECUTE, ADMIN),
        ttl_seconds=LOGIN_DAYS * 86_400,
    )
