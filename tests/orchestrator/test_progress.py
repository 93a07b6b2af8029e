"""The reporter: from an agent's calls to events, within limits, and silent once it is closed."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.clock import Clock
from orchestrator.errors import AgentError, AttemptClosed, OutputLimitExceeded
from orchestrator.events import AgentProgress, Event
from orchestrator.progress import CallbackRecorder, Limits, Reporter, check_artifact_name


class Heard:
    """A reporter and what it reported."""

    def __init__(self, **limits: int) -> None:
        self.events: list[Event] = []
        self.recorder = CallbackRecorder("t", self.events.append)
        self.reporter = Reporter(
            "a", 1, recorder=self.recorder, limits=Limits(**limits), clock=Clock()
        )

    @property
    def said(self) -> list[dict[str, Any]]:
        """The fields of each event that are its own."""
        common = {"type", "task_id", "timestamp", "agent_role", "attempt"}
        return [event.model_dump(exclude_none=True, exclude=common) for event in self.events]

    async def progress(self, **fields: Any) -> None:
        names = ("message", "progress", "done", "total", "failed", "eta_seconds")
        await self.reporter.progress(**(dict.fromkeys(names) | fields))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"message": "m"}, {"message": "m"}),
        ({"message": ""}, {"message": ""}),
        ({"progress": 0.123456}, {"progress": 0.1235}),
        ({"progress": -1}, {"progress": 0}),
        ({"progress": 9}, {"progress": 1}),
        ({"progress": float("nan"), "message": "m"}, {"message": "m"}),
        ({"done": 1, "total": 4}, {"progress": 0.25, "items_done": 1, "items_total": 4}),
        ({"done": 1, "total": 4, "progress": 0.9},
         {"progress": 0.9, "items_done": 1, "items_total": 4}),
        ({"done": 1, "total": 0}, {"items_done": 1, "items_total": 0}),
        ({"done": 5, "total": 4}, {"progress": 1, "items_done": 5, "items_total": 4}),
        ({"done": -1, "failed": -2}, {"items_done": 0, "items_failed": 0}),
        ({"done": 10**30}, {"items_done": 2**53 - 1}),
        ({"eta_seconds": 1.26}, {"eta_seconds": 1.3}),
        ({"eta_seconds": -1}, {"eta_seconds": 0}),
        ({"eta_seconds": float("inf"), "message": "m"}, {"message": "m"}),
    ],
)  # fmt: skip
async def test_numbers_are_put_into_their_bounds(
    given: dict[str, Any], said: dict[str, Any]
) -> None:
    heard = Heard()
    await heard.progress(**given)
    assert heard.said == [said]


@pytest.mark.parametrize("given", [{}, {"progress": float("nan")}, {"eta_seconds": float("inf")}])
async def test_progress_that_says_nothing_is_no_event(given: dict[str, Any]) -> None:
    heard = Heard()
    await heard.progress(**given)
    assert heard.events == []


async def test_text_is_kept_as_it_was_accepted() -> None:
    heard = Heard(max_event_bytes=60)
    await heard.reporter.write("x" * 25)
    await heard.reporter.write("")
    await heard.reporter.reason("why")
    assert [e["content"] for e in heard.said[:3]] == ["x" * 10, "x" * 10, "x" * 5]
    assert heard.said[3:] == [{"reasoning": "why"}]
    assert heard.reporter.text == "x" * 25


async def test_only_text_that_was_accepted_is_part_of_the_output() -> None:
    heard = Heard(max_agent_output_bytes=10)
    await heard.reporter.write("12345678")
    with pytest.raises(OutputLimitExceeded):
        await heard.reporter.write("9abc")
    assert heard.reporter.text == "12345678"


@pytest.mark.parametrize("text", ["x" * 11, "é" * 6, "😀" * 3, "\ud800" * 11])
async def test_output_is_counted_in_bytes(text: str) -> None:
    heard = Heard(max_agent_output_bytes=10)
    for call in (heard.reporter.write, heard.reporter.reason):
        with pytest.raises(OutputLimitExceeded):
            await call(text)
    assert heard.events == []


async def test_reasoning_counts_as_output_and_messages_do_not() -> None:
    heard = Heard(max_agent_output_bytes=10)
    await heard.progress(message="m" * 100)
    await heard.reporter.reason("12345678")
    with pytest.raises(OutputLimitExceeded):
        await heard.reporter.write("9abc")


async def test_a_long_message_is_cut_with_a_mark() -> None:
    heard = Heard(max_event_bytes=60)
    await heard.progress(message="m" * 11)
    assert heard.said == [{"message": "m" * 9 + "…"}]


async def test_every_call_on_a_closed_reporter_is_refused() -> None:
    heard = Heard()
    await heard.reporter.write("before")
    heard.reporter.close()
    for call in (
        heard.reporter.write("x"), heard.progress(message="x"), heard.reporter.reason("x"),
        heard.reporter.tool("1", "n", "started"), heard.reporter.checkpoint({}),
        heard.reporter.save_artifact("n", b"", "text/plain"),
        heard.reporter.store_process_group(1, 1),
    ):  # fmt: skip
        with pytest.raises(AttemptClosed, match="attempt 1 of a has ended"):
            await call
    assert heard.reporter.text == "before"
    assert len(heard.events) == 1


async def test_a_tool_call_is_reported() -> None:
    heard = Heard()
    await heard.reporter.tool("1", "search\ud800", "finished")
    event = heard.events[0]
    assert isinstance(event, AgentProgress)
    assert event.tool is not None
    assert (event.tool.call_id, event.tool.name, event.tool.state) == ("1", "search�", "finished")


@pytest.mark.parametrize(
    "name", ["report.md", "a b.txt", "grüße.pdf", "a" * 200, "x..y", "con1", "NULL", "日本"]
)
def test_a_plain_file_name_is_good_for_an_artifact(name: str) -> None:
    check_artifact_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", ".hidden", "x.", " x", "x ",
        "a\x00b", "a\nb", "a\x7f", "a*", "a?", 'a"', "<a>", "a|b", "CON", "con.txt", "Nul",
        "lpt1.x", "a" * 201, "a\u202eb", "a\u2066b", "\ud800",
    ],
)  # fmt: skip
async def test_other_names_are_not(name: str) -> None:
    heard = Heard()
    with pytest.raises(AgentError) as caught:
        await heard.reporter.save_artifact(name, b"", "text/plain")
    assert caught.value.code == "invalid_artifact"
    assert heard.events == []


@pytest.mark.parametrize(
    ("media_type", "good"),
    [
        ("text/plain", True), ("text/plain; charset=utf-8", True),
        ("application/vnd.x+json", True), ("", False), ("text", False), ("text/", False),
        ("text/plain\r\nX: y", False), ("text/html; a=b; c=d", False), ("Text/Plain", False),
        ("text/plain\n", False),
    ],
)  # fmt: skip
async def test_a_media_type_goes_into_a_header(media_type: str, good: bool) -> None:
    heard = Heard()
    saving = heard.reporter.save_artifact("n", b"1", media_type)
    if good:
        assert (await saving).media_type == media_type
    else:
        with pytest.raises(AgentError):
            await saving


async def test_an_artifact_has_a_limit_of_its_own() -> None:
    heard = Heard(max_artifact_bytes=10)
    await heard.reporter.save_artifact("n", b"x" * 10, "a/b")
    with pytest.raises(OutputLimitExceeded, match="has 11 bytes; 10 are allowed"):
        await heard.reporter.save_artifact("n", b"x" * 11, "a/b")
