"""An orchestrator alone: no server, no database, only a callback.

Shows: a team of two, every step as a typed event, and an output that one hands to the next.
Run:    python examples/01_in_process.py
Expect: each event as it happens, then the sentence the second agent wrote about the first one's
        work. It takes about a second.
"""

from __future__ import annotations

import asyncio

from orchestrator import (
    AgentComplete,
    AgentContext,
    AgentProgress,
    AgentRegistry,
    AgentResult,
    AgentStart,
    Event,
    Orchestrator,
    TaskComplete,
    TaskCreated,
    TaskRequest,
)


class Counter:
    """Anything with a role, a name, a description and `run` is an agent."""

    role = "counter"
    name = "Counter"
    description = "Counts the birds of each kind."

    async def run(self, context: AgentContext) -> AgentResult:
        """Report every bird; what is returned is for programs."""
        seen: dict[str, int] = {}
        birds = context.inputs["birds"]
        for number, bird in enumerate(birds, start=1):
            await asyncio.sleep(0.1)  # it pretends to look through binoculars
            seen[bird] = seen.get(bird, 0) + 1
            await context.progress(f"Saw a {bird}", done=number, total=len(birds))
        return AgentResult(output=seen)


class Diarist:
    """Works with what the agents before it have delivered."""

    role = "diarist"
    name = "Diarist"
    description = "Writes down what the counter found."

    async def run(self, context: AgentContext) -> None:
        """Read an earlier output; what is written is for people."""
        seen = context.outputs["counter"].output
        for bird, count in sorted(seen.items()):
            await context.write(f"{count} {bird}, ")
        await context.write("and a good morning.")


def show(event: Event) -> None:
    """Called with every event, in order. It could be a coroutine as well."""
    match event:
        case TaskCreated():
            print(f"{event.title}: {', '.join(event.selected_agents)}")
        case AgentStart():
            print(f"  {event.agent_name} begins: {event.agent_description}")
        case AgentProgress(message=str(message), progress=float(progress)):
            print(f"    {progress:4.0%}  {message}")
        case AgentProgress(content=str(content)):
            print(f"    wrote {content!r}")
        case AgentComplete():
            print(f"  {event.agent_role} delivered after {event.execution_time} ms")
        case TaskComplete():
            print(f"{event.outputs} outputs after {event.total_execution_time} ms\n")
        case _:  # an agent or the task failed; new kinds of events may come
            print(f"  {event.type}")


async def main() -> None:
    orchestrator = Orchestrator(AgentRegistry(Counter(), Diarist()))
    request = TaskRequest(
        description="A morning at the lake",
        selected_agents=["counter", "diarist"],
        inputs={"birds": ["heron", "coot", "coot", "grebe", "coot"]},
    )
    result = await orchestrator.execute_task(request, show)
    print(f"{result.status}: {result.outputs['diarist'].text}")


if __name__ == "__main__":
    asyncio.run(main())
