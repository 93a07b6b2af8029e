"""The page's types of events are those of the Python models."""

from __future__ import annotations

from tests.web.wire_types import TARGET, render


def test_the_types_of_the_page_are_made_from_these_models() -> None:
    assert TARGET.read_text(encoding="utf-8") == render(), "stale: python -m tests.web.wire_types"


def test_every_field_of_an_event_has_a_type() -> None:
    assert "content?: string;" in render()
    assert "willRetry: boolean;" in render()
