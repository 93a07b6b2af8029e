"""What a client does with tasks, and how they end: played again after every crash and fault."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

from orchestrator.agents import AgentContext, AgentOptions, AgentRegistry, AgentResult
from orchestrator.errors import AgentError, AlreadyRunning
from orchestrator.store.artifacts import PIECE_BYTES
from tests.orchestrator.runtime.worlds import Scenario, World
from tests.orchestrator.teams import hang, team


async def _write(context: AgentContext) -> AgentResult:
    await context.write(f"{secrets.token_hex(8)} ")
    await asyncio.sleep(0.01)
    await context.progress(secrets.token_hex(8), done=1, total=2)
    await context.write(secrets.token_hex(8))
    return AgentResult(output={"nonce": secrets.token_hex(8)})


async def _save(context: AgentContext) -> None:
    """Two files of several pieces, one of them twice."""
    for name in ("a.bin", "b.bin", "a.bin"):
        await context.save_artifact(name, secrets.token_bytes(PIECE_BYTES + 10))


async def _remember(context: AgentContext) -> None:
    """Counts its steps over its attempts; each is taken once it is stored."""
    steps = context.restored or []
    while len(steps) < 3:
        step = secrets.token_hex(4)
        steps = [*steps, step]
        await context.checkpoint(steps)
        await context.progress(step)
    await context.write(" ".join(steps))


async def _stumble(context: AgentContext) -> AgentResult:
    if context.attempt % 3:
        await context.write(secrets.token_hex(8))
        raise AgentError("once more", retryable=True)
    return await _write(context)


async def _fail(context: AgentContext) -> None:
    raise AgentError("for good")


async def _wait(context: AgentContext) -> None:
    await context.write("waiting")
    await asyncio.sleep(5)


async def _deaf(context: AgentContext) -> None:
    await context.progress("hanging")
    end = asyncio.get_running_loop().time() + 20
    while asyncio.get_running_loop().time() < end:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


def agents() -> AgentRegistry:
    options = {"stumble": AgentOptions(max_attempts=3, retry_delay_seconds=1)}
    return team(
        options, a=_write, b=_write, save=_save, remember=_remember, stumble=_stumble, bad=_fail,
        wait=_wait, hang=hang, deaf=_deaf,
    )  # fmt: skip


SCENARIOS: dict[str, tuple[Scenario, dict[str, str]]] = {}


def scenario(**ends: str) -> Callable[[Scenario], Scenario]:
    """One that a client can play again from the beginning; how its tasks end, by title."""

    def add(play: Scenario) -> Scenario:
        SCENARIOS[play.__name__] = (play, ends)
        return play

    return add


@scenario(one="completed", two="completed")
async def agents_one_after_another(world: World) -> None:
    await world.submit("one", "a", "b")
    await world.submit("two", "bad", "b", onAgentError="continue")


@scenario(one="completed")
async def artifacts_and_checkpoints(world: World) -> None:
    await world.submit("one", "save", "remember", executionMode="parallel")


@scenario(one="completed", two="failed")
async def attempts_that_are_tried_again(world: World) -> None:
    await world.submit("one", "stumble", "a", executionMode="parallel")
    await world.submit("two", "stumble", "bad")


@scenario(running="cancelled", queued="cancelled", deaf="cancelled", other="completed")
async def cancels(world: World) -> None:
    await world.submit("running", "a", "hang")
    await world.submit("deaf", "deaf")
    await world.submit("queued", "b")
    await world.submit("other", "a")
    await world.cancel("queued")
    await world.says("running", b"hanging")
    await world.says("deaf", b"hanging")
    await asyncio.gather(world.cancel("running"), world.cancel("deaf"))


@scenario(first="failed", then="cancelled", last="cancelled", good="completed", late="completed")
async def tasks_that_wait_for_others(world: World) -> None:
    await world.submit("first", "bad")
    await world.submit("good", "a")
    await world.submit("then", "a", after=[world.ids["first"]])
    await world.submit("last", "a", after=[world.ids["then"], world.ids["good"]])
    await world.submit("late", "b", after=[world.ids["good"]])


@scenario(one="completed", two="completed", three="completed")
async def a_drain_that_hands_back(world: World) -> None:
    await world.submit("one", "a", "wait")
    await world.submit("two", "wait", "b", executionMode="parallel")
    await world.submit("three", "a")
    await world.says("one", b"waiting")
    if not world.drained:
        world.drained = True
        await world.life.service.drain(0.1)
        assert world.life.writer is not None
        await world.life.writer.close()
        await world.life.end()


@scenario(gone="", kept="completed")
async def deletions(world: World) -> None:
    await world.submit("gone", "save", "a")
    await world.reaches("gone", "completed")
    await world.submit("kept", "save")
    await world.delete("gone")
    await world.reaches("kept", "completed")


@scenario(soon="completed", later="completed", queued="completed")
async def pauses(world: World) -> None:
    await world.submit("soon", "a", "wait", "b")
    await world.submit("later", "wait", "b")
    await world.submit("queued", "a")
    await world.ask("queued", "pause")
    await world.says("soon", b"waiting")
    await world.says("later", b"waiting")
    await asyncio.gather(world.ask("soon", "pause", stop_now=True), world.ask("later", "pause"))
    await asyncio.gather(world.reaches("soon", "paused"), world.reaches("later", "paused"))
    for title in ("soon", "later", "queued"):
        await world.ask(title, "resume")


@scenario(bad="failed", hanging="cancelled", late="timed_out")
async def retries(world: World) -> None:
    await world.submit("bad", "a", "stumble", "bad")
    await world.submit("hanging", "a", "hang")
    await world.submit("late", "hang", timeoutSeconds=5)
    await world.says("hanging", b"hanging")
    await world.ask("hanging", "cancel")
    for title in ("bad", "hanging", "late"):
        await world.reaches(title)
        await world.retry(title)
    await world.ask("hanging", "cancel")


@scenario(one="completed", two="completed")
async def a_stop_of_the_worker_loop(world: World) -> None:
    runner = world.life.service.runner
    await world.submit("one", "a", "wait")
    await world.says("one", b"waiting")
    await runner.stop(by="me", now=True)
    await world.submit("two", "b")
    with suppress(AlreadyRunning):
        await runner.start(by="me")


@scenario(late="timed_out", budget="failed")
async def limits_that_are_reached(world: World) -> None:
    await world.submit("late", "a", "hang", timeoutSeconds=30)
    await world.submit("budget", "hang", budget={"seconds": 10})
