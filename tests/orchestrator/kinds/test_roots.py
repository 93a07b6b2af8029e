"""Paths in inputs lie in one of the roots, whatever links and dots say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentContext, AgentResult
from orchestrator.errors import AgentError
from orchestrator.kinds.python import python_agent
from orchestrator.kinds.roots import CheckedAgent, Roots
from tests.orchestrator.kinds.support import Trial


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """One root ``repos`` with a folder, links in and out, and a sibling that begins alike."""
    for name in ("repos/project/sub", "repos-secret", "real"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "repos/inside").symlink_to(tmp_path / "repos/project")
    (tmp_path / "repos/outside").symlink_to(tmp_path / "repos-secret")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    return Roots({"repos": tmp_path / "repos", "linked": tmp_path / "linked"})


@pytest.mark.parametrize(
    ("value", "real"),
    [
        ("{}/repos/project", "repos/project"),
        ("{}/repos", "repos"),
        ("{}/repos/project/../project/./sub/", "repos/project/sub"),
        ("{}/repos/inside/sub", "repos/project/sub"),
        ("{}/repos/not/there", "repos/not/there"),
        ("{}/linked/x", "real/x"),
        ("{}/real/x", "real/x"),
        ("repos", "repos"),
        ("repos/project/sub", "repos/project/sub"),
        ("linked/x", "real/x"),
    ],
)
def test_a_path_inside_is_resolved(roots: Roots, tmp_path: Path, value: str, real: str) -> None:
    assert roots.path("path", value.format(tmp_path)) == tmp_path.resolve() / real


@pytest.mark.parametrize(
    "value",
    [
        "{}", "/", "/etc/passwd", "{}/repos-secret", "{}/repos/../repos-secret",
        "{}/repos/outside", "{}/repos/outside/x", "{}/repos/inside/../../repos-secret",
        "repos/../repos-secret", "repos/outside", "project", "../repos", ".", "~", "-repos",
    ],
)  # fmt: skip
def test_a_path_elsewhere_is_refused(roots: Roots, tmp_path: Path, value: str) -> None:
    with pytest.raises(AgentError) as caught:
        roots.path("path", value.format(tmp_path))
    assert caught.value.code == "path_not_allowed"
    assert "inputs.path" in str(caught.value)
    assert "(repos, linked)" in str(caught.value)
    assert str(tmp_path) not in str(caught.value), "where the roots lie is the server's business"


@pytest.mark.parametrize("value", ["", "a\0b", 7, ["repos"], {"a": 1}, True])
def test_what_is_no_path_is_refused(roots: Roots, value: Any) -> None:
    with pytest.raises(AgentError) as caught:
        roots.path("path", value)
    assert caught.value.code == "invalid_input"


def test_without_roots_no_path_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="none is configured"):
        Roots({}).path("path", str(tmp_path))


async def test_an_agent_sees_defaults_and_resolved_paths(roots: Roots, tmp_path: Path) -> None:
    async def show(context: AgentContext) -> dict[str, Any]:
        await context.write("reported")
        return dict(context.inputs)

    agent = CheckedAgent(
        python_agent(show, "show", name="N", description="D"),
        defaults={"path": "repos/inside", "depth": 3},
        paths=["path", "other"],
        roots=roots,
    )
    assert (agent.role, agent.name, agent.description) == ("show", "N", "D")
    here = str(tmp_path / "repos/project")
    trial = Trial(agent)
    assert await trial.run() == AgentResult(output={"path": here, "depth": 3})
    assert trial.text == "reported"
    assert trial.context.inputs == {}, "what the request said stays as it was"
    result = await Trial(agent, {"depth": 4, "x": 1, "path": "repos"}).run()
    assert result is not None
    assert result.output == {"path": str(tmp_path / "repos"), "depth": 4, "x": 1}
    with pytest.raises(AgentError, match=r"inputs\.other"):
        await Trial(agent, {"other": "/etc"}).run()
