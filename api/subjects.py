"""Subjects: what the `sub` of a token may be, wherever one is named."""

from __future__ import annotations

MAX_CHARACTERS = 255  # a subject is a column, a header of logs and a line on the page


def is_subject(value: str) -> bool:
    """Whether a text can be a subject: 1 to 255 visible characters, no blanks around them."""
    return 0 < len(value) <= MAX_CHARACTERS and value.isprintable() and value == value.strip()
