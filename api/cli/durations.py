"""Durations as people write them: ``90``, ``30s``, ``15m``, ``12h``, ``7d``."""

from __future__ import annotations

import re

from api.cli.terminal import usage_error

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", re.ASCII)


def seconds_of(text: str, option: str) -> float:
    """The seconds a duration means.

    Args:
        text: What was typed.
        option: Where, for the error.

    Raises:
        CommandFailed: It is no duration, or none at all.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds <= 0:
        raise usage_error(f"{option} {text}: must be a duration, e.g. 90, 30s, 15m, 12h or 7d.")
    return seconds
