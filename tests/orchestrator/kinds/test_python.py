"""Python agents: classes, objects and async functions."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.agents import AgentContext, AgentResult
from orchestrator.kinds.python import python_agent
from tests.orchestrator.kinds.support import Trial


class Greeter:
    """Says hello.

    And more.
    """

    role = "its own"
    name = "Greeter"

    def __init__(self, greeting: str = "Hello", *, mark: str = "!") -> None:
        self.words = greeting + mark

    async def run(self, context: AgentContext) -> AgentResult:
        await context.write(self.words)
        return AgentResult(output={"task": context.task.title})


class Raising(Greeter):
    def __init__(self) -> None:
        super().__init__(str(1 / 0))


async def shout(context: AgentContext) -> str:
    """Shouts."""
    return context.task.title.upper()


def returning(value: object) -> Any:
    async def agent(context: AgentContext) -> object:
        return value

    return agent


async def test_a_class_is_made_with_the_options() -> None:
    agent = python_agent(Greeter, "greet", options={"greeting": "Hi", "mark": "?"})
    assert (agent.role, agent.name, agent.description) == ("greet", "Greeter", "Says hello.")
    trial = Trial(agent)
    assert await trial.run() == AgentResult(output={"task": "A title"})
    assert trial.text == "Hi?"


async def test_an_object_is_used_as_it_is() -> None:
    trial = Trial(python_agent(Greeter("Moin"), "greet", name="N", description="D"))
    assert (trial.agent.name, trial.agent.description) == ("N", "D")
    await trial.run()
    assert trial.text == "Moin!"


async def test_a_function_gets_role_name_and_description() -> None:
    agent = python_agent(shout, "shout")
    assert (agent.role, agent.name, agent.description) == ("shout", "shout", "Shouts.")
    assert await Trial(agent).run() == AgentResult(text="A TITLE")


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        ("text", AgentResult(text="text")),
        ({"a": 1}, AgentResult(output={"a": 1})),
        ([1], AgentResult(output=[1])),
        (AgentResult(text="t", output=1), AgentResult(text="t", output=1)),
    ],
)
async def test_what_is_returned_becomes_a_result(value: object, result: AgentResult | None) -> None:
    assert await Trial(python_agent(returning(value), "r")).run() == result


async def test_anything_else_is_a_mistake_of_the_agent() -> None:
    with pytest.raises(TypeError, match="agent r returned int"):
        await Trial(python_agent(returning(7), "r")).run()


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        (Greeter, {"greting": "Hi"}, "the options do not fit Greeter: .*'greting'"),
        (Greeter("x"), {"mark": "?"}, "options are for a class"),
        (shout, {"mark": "?"}, "options are for a class"),
        (print, {}, 'what blocks belongs into kind = "background"'),
        (7, {}, "this is no agent"),
        (dict, {}, "this is no agent"),
        (Raising, {}, "Raising raised ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_an_agent_is_said(target: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        python_agent(target, "r", options=options)
