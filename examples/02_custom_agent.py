"""Everything an agent can do, told by a newspaper's night shift.

Shows: a class, a function and a blocking task as agents; progress, text, files and checkpoints; a
       second attempt that goes on where the first one broke off; and a team that works at the same
       time and delivers although one of them fails.
Run:    python examples/02_custom_agent.py
Expect: the reporter loses the line after two interviews, comes back and asks the third person
        only; the photographer fails; the paper appears all the same. It takes about two seconds.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from orchestrator import (
    AgentContext,
    AgentError,
    AgentFailed,
    AgentOptions,
    AgentProgress,
    AgentRegistry,
    AgentResult,
    AgentStart,
    Event,
    Orchestrator,
    TaskRequest,
    Usage,
)
from orchestrator.kinds.background import (
    BackgroundAgent,
    BackgroundTask,
    DaemonThreads,
    ProgressHandle,
)
from orchestrator.kinds.python import python_agent


class Reporter:
    """A class: for agents that have something to keep between calls, e.g. a connection."""

    role = "reporter"
    name = "Reporter"
    description = "Asks people what happened and writes it down."

    async def run(self, context: AgentContext) -> AgentResult:
        """Begin where the attempt before has stopped."""
        people = context.inputs["people"]
        answers: list[str] = context.restored or []  # what an earlier attempt had stored
        if answers:
            await context.progress(f"Attempt {context.attempt}: {len(answers)} answers are safe")

        for number, person in enumerate(people[len(answers) :], start=len(answers) + 1):
            await context.progress(f"Calling {person}", done=number - 1, total=len(people))
            await asyncio.sleep(0.2)  # it pretends to listen
            if number == 3 and context.attempt == 1:
                raise AgentError("The line went dead.", code="line_dead", retryable=True)
            answers.append(f"{person} heard a bang.")
            await context.checkpoint(answers)  # from here on nothing makes it ask again

        story = "\n".join(answers)
        await context.write(story)  # the output text, piece by piece if you like
        await context.save_artifact("story.txt", story, "text/plain")
        return AgentResult(
            output={"witnesses": len(answers)},  # for programs, e.g. the next agent
            usage=Usage(input_tokens=120, output_tokens=30),
        )


async def forecast(context: AgentContext) -> str:
    """Says what tomorrow will be like."""
    await asyncio.sleep(0.3)  # it pretends to ask a weather service
    return f"Rain in {context.inputs['town']}."


async def photograph(context: AgentContext) -> str:
    """Takes the picture for the front page."""
    await context.progress("Looking for the lens cap")
    raise AgentError("It was too dark.", code="too_dark")


class Typesetter(BackgroundTask):
    """Code that blocks runs in a thread of its own and declares the inputs it wants."""

    def execute(self, progress_handle: ProgressHandle, *_: Any, pages: int = 4) -> dict[str, Any]:
        """Report from any thread, the same way."""
        for page in range(1, pages + 1):
            progress_handle.raise_if_cancelled()  # a thread cannot be stopped from outside
            time.sleep(0.1)  # it pretends to set lead
            progress_handle.send_progress(done=page, total=pages, message=f"Set page {page}")
        return {"pages": pages}


def night_shift() -> AgentRegistry:
    registry = AgentRegistry()
    registry.register(Reporter(), options=AgentOptions(max_attempts=2, retry_delay_seconds=0.2))
    registry.register(python_agent(forecast, "weather", name="Weather"))
    registry.register(python_agent(photograph, "photographer", name="Photographer"))
    typesetter = BackgroundAgent(
        "typesetter", "Typesetter", "Sets the pages.", Typesetter(), DaemonThreads(4)
    )
    registry.register(typesetter, kind="background")
    return registry


def show(event: Event) -> None:
    match event:
        case AgentStart():
            print(f"{event.agent_role:>12}  begins attempt {event.attempt}")
        case AgentProgress(message=str(message)):
            print(f"{event.agent_role:>12}  {message}")
        case AgentFailed():
            and_then = "It will be tried again." if event.will_retry else "That is final."
            print(f"{event.agent_role:>12}  {event.error} {and_then}")


async def main() -> None:
    request = TaskRequest(
        description="Tomorrow's paper",
        selected_agents=["reporter", "weather", "photographer", "typesetter"],
        execution_mode="parallel",
        inputs={"people": ["Ada", "Bob", "Cleo"], "town": "Ghent", "pages": 6},
        timeout_seconds=30,
    )
    result = await Orchestrator(night_shift()).execute_task(request, show)

    print(f"\nThe paper is {result.status}, without the work of: {', '.join(result.failed)}")
    for (role, name), content in result.artifacts.items():
        print(f"{role} saved {name}, {len(content)} bytes:")
        print(content.decode())
    print(result.outputs["weather"].text)
    print(f"{result.outputs['typesetter'].output['pages']} pages")


if __name__ == "__main__":
    asyncio.run(main())
