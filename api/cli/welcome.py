"""What `poststream serve` prints once it serves: where it is, and a line that shows it at work."""

from __future__ import annotations

import shlex
from typing import Any

import orjson

from api.auth import ADMIN, EXECUTE, READ
from api.cli.signing import sign
from api.cli.terminal import NO_AGENTS
from api.settings import Settings
from api.versions import installed_version
from orchestrator.agents import AgentRegistry
from orchestrator.kinds.scripted import ROLES as SCRIPTED

LOGIN_DAYS = 7
REVIEW = ("inventory", "history", "complexity", "lint", "security", "report")
"""The agents of the code-review team, which looks at its own checkout unless told otherwise."""


def welcome(settings: Settings, registry: AgentRegistry) -> str:
    """The text for people; a token stands in it in development only.

    Args:
        settings: With the port that is really listened on.
        registry: The agents that are offered.
    """
    found = facts(settings, registry)
    lines = [f"Poststream {found['version']} serves on {found['url']}", ""]
    if settings.public_url is not None:
        lines.append(f"  Listens on   {settings.host}, port {settings.port}")
    lines.append(f"  Data folder  {found['dataDir']}")
    if settings.database_url is not None:
        lines.append(f"  Database     {settings.database_path or 'temporary, gone at exit'}")
    lines.append(f"  Agents       {', '.join(found['agents']) or 'none'}")
    lines += [f"               {role}: {why}" for role, why in found["unavailable"].items()]
    if "loginUrl" in found:
        lines.append(f"  Login        {found['loginUrl']}")
    if not len(registry):
        lines += ["", NO_AGENTS]
    elif found["agents"] and "token" in found:
        body = example_body(found["agents"])
        lines += ["", f"{body['description']}, and watch:", ""]
        lines.append(curl_line(found["url"], found["token"], body))
    return "\n".join([*lines, ""])


def facts(settings: Settings, registry: AgentRegistry) -> dict[str, Any]:
    """The same for programs."""
    found: dict[str, Any] = {
        "version": installed_version(),
        "url": settings.url,
        "dataDir": str(settings.data_dir.absolute()),
        "agents": [r.agent.role for r in registry if r.unavailable is None],
        "unavailable": {r.agent.role: r.unavailable for r in registry if r.unavailable},
    }
    token = _login_token(settings)
    if token is not None:
        found |= {"token": token, "loginUrl": f"{settings.url}/login#token={token}"}
    return found


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
        roles = [role for role in REVIEW if role in available]
        return {
            "description": "Review this repository",
            "selectedAgents": roles,
            "executionMode": "graph",
            "dependsOn": {"report": roles[:-1]},
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
