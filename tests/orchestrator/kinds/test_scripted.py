"""Scripted agents play exactly what section 8 of the contract says."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from orchestrator.agents import AgentRegistry
from orchestrator.errors import AgentError
from orchestrator.kinds.scripted import ScriptedAgent, register_scripted
from tests.orchestrator.kinds.support import Trial, eventually


def trial(*entries: Any, role: str = "scripted-1") -> Trial:
    script = [{"agent": role, **entry} if isinstance(entry, dict) else entry for entry in entries]
    return Trial(ScriptedAgent(role), {"script": script})


def test_the_roles_are_numbered_from_1_to_8() -> None:
    registry = AgentRegistry()
    register_scripted(registry)
    assert [r.agent.role for r in registry] == [f"scripted-{n}" for n in range(1, 9)]
    assert {r.kind for r in registry} == {"scripted"}


async def test_one_event_per_text_in_the_order_of_the_entries() -> None:
    played = trial({"texts": ["a", "b"]}, {"texts": []}, {"texts": ["c", ""]}, {})
    assert await played.agent.run(played.context) is None
    assert played.messages == ["a", "b", "c", ""]
    assert played.text == ""


async def test_every_agent_plays_its_own_part() -> None:
    script = [{"agent": f"scripted-{n % 2 + 1}", "texts": [str(n)]} for n in range(5)]
    second = Trial(ScriptedAgent("scripted-2"), {"script": [*script, {"agent": "else"}]})
    await second.run()
    assert second.messages == ["1", "3"]


@pytest.mark.parametrize("inputs", [{}, {"script": []}, {"script": None}])
async def test_without_a_script_it_delivers_at_once(inputs: dict[str, Any]) -> None:
    played = Trial(ScriptedAgent("scripted-1"), inputs)
    await played.run()
    assert played.events == []


async def test_content_becomes_output_text() -> None:
    played = trial({"texts": ["a ", "b"], "kind": "content"}, {"texts": ["m"], "kind": "message"})
    await played.run()
    assert played.text == "a b"
    assert played.messages == ["m"]


async def test_repeat_numbers_its_texts_and_fills_them() -> None:
    played = trial({"repeat": 3, "size": 12}, {"repeat": 1}, {"repeat": 0})
    await played.run()
    assert played.messages == ["00000000 xxx", "00000001 xxx", "00000002 xxx", "00000000 "]
    assert {len(m.encode()) for m in played.messages[:3]} == {12}


async def test_nonce_and_stamp_are_added_to_each_text() -> None:
    before = time.monotonic_ns()
    played = trial({"texts": ["a", "a"], "nonce": True, "stamp": True}, {"texts": ["b"]})
    await played.run()
    matches = [re.fullmatch(r"a #([0-9a-f]{8}) @t=(\d+)@", m) for m in played.messages[:2]]
    assert all(matches)
    nonces = {match[1] for match in matches if match}
    stamps = [int(match[2]) for match in matches if match]
    assert len(nonces) == 2
    assert before < stamps[0] <= stamps[1] < time.monotonic_ns()
    assert played.messages[2] == "b"


async def test_the_delay_comes_before_each_text_and_the_stamp_after_it() -> None:
    played = trial({"texts": ["a", "b"], "delay": 0.05, "stamp": True})
    before = time.monotonic_ns()
    await played.run()
    first, second = (int(m.split("=")[1][:-1]) for m in played.messages)
    assert first - before >= 49_000_000
    assert second - first >= 49_000_000


async def test_without_a_delay_it_never_waits() -> None:
    """One step of its coroutine plays everything, as nobody else holds it up."""
    played = trial({"repeat": 100})
    with pytest.raises(StopIteration):
        played.run().send(None)
    assert len(played.messages) == 100


async def test_fail_ends_it_in_its_place() -> None:
    played = trial({"texts": ["a"]}, {"texts": ["b"], "outcome": "fail"}, {"texts": ["c"]})
    with pytest.raises(AgentError, match=r"^scripted failure$") as caught:
        await played.run()
    assert caught.value.code == "agent_failed"
    assert played.messages == ["a", "b"]


async def test_hang_waits_until_it_is_cancelled() -> None:
    played = trial({"texts": ["a"], "outcome": "hang"}, {"texts": ["never"]})
    task = played.start()
    await eventually(lambda: played.messages)
    assert not (await asyncio.wait([task], timeout=0.05))[0]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert played.messages == ["a"]


@pytest.mark.parametrize(
    ("script", "pointer"),
    [
        ("texts", ""),
        ({}, ""),
        ([7], "/0"),
        ([{}], "/0/agent"),
        ([{"agent": 7}], "/0/agent"),
        ([{"agent": "else"}, {"agent": "scripted-1", "text": ["a"]}], "/1/text"),
        ([{"agent": "scripted-1", "texts": "a"}], "/0/texts"),
        ([{"agent": "scripted-1", "texts": ["a", 7]}], "/0/texts"),
        ([{"agent": "scripted-1", "delay": -1}], "/0/delay"),
        ([{"agent": "scripted-1", "delay": "1"}], "/0/delay"),
        ([{"agent": "scripted-1", "delay": True}], "/0/delay"),
        ([{"agent": "scripted-1", "delay": float("nan")}], "/0/delay"),
        ([{"agent": "scripted-1", "delay": 10**400}], "/0/delay"),
        ([{"agent": "scripted-1", "outcome": "maybe"}], "/0/outcome"),
        ([{"agent": "scripted-1", "outcome": ["ok"]}], "/0/outcome"),
        ([{"agent": "scripted-1", "repeat": -1}], "/0/repeat"),
        ([{"agent": "scripted-1", "repeat": 1.5}], "/0/repeat"),
        ([{"agent": "scripted-1", "repeat": True}], "/0/repeat"),
        ([{"agent": "scripted-1", "repeat": 1, "size": 8}], "/0/size"),
        ([{"agent": "scripted-1", "repeat": 1, "size": 10**12}], "/0/size"),
        ([{"agent": "scripted-1", "repeat": 1, "texts": []}], "/0/repeat"),
        ([{"agent": "scripted-1", "nonce": 1}], "/0/nonce"),
        ([{"agent": "scripted-1", "stamp": None}], "/0/stamp"),
        ([{"agent": "scripted-1", "kind": "reasoning"}], "/0/kind"),
    ],
)
async def test_a_wrong_script_is_refused_before_anything_is_played(
    script: Any, pointer: str
) -> None:
    if isinstance(script, list):
        script = [{"agent": "scripted-1", "texts": ["played"]}, *script]
        pointer = re.sub(r"\d", lambda digit: str(int(digit[0]) + 1), pointer)
    played = Trial(ScriptedAgent("scripted-1"), {"script": script})
    with pytest.raises(AgentError) as caught:
        await played.run()
    assert caught.value.code == "invalid_script"
    assert f" /inputs/script{pointer} " in str(caught.value)
    assert played.events == []
