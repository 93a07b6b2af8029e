"""Query parameters that several routes have, and what they may say."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

from api.auth import ADMIN
from api.endpoint import Call
from api.errors import InvalidParameter
from orchestrator.tasks import TaskStatus

LAST_EVENT_ID = "lastEventId"
"""What the caller has seen before it asked for a change."""


def refuse_others(call: Call, names: Collection[str]) -> None:
    """Refuse parameters the route does not have.

    A misspelt filter must not list everything, a misspelt guard must not let a late click act.

    Raises:
        InvalidParameter: There is one.
    """
    for name, _ in parse_qsl(call.scope["query_string"].decode("ascii", "replace")):
        if name not in names:
            raise InvalidParameter(name[:40], "is none of this route's")


def flag(call: Call, name: str) -> bool | None:
    """A parameter that is true or false; None when absent."""
    match call.parameter(name):
        case None:
            return None
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise InvalidParameter(name, "is true or false")


def one_of(call: Call, name: str, words: Collection[str]) -> str | None:
    """A parameter that is one of some words; None when absent."""
    text = call.parameter(name)
    if text is not None and text not in words:
        raise InvalidParameter(name, f"is one of {', '.join(words)}")
    return text


def statuses(call: Call) -> frozenset[TaskStatus]:
    """`?status=`: one or more, separated by commas; empty when absent."""
    text = call.parameter("status")
    try:
        return frozenset(TaskStatus(name) for name in text.split(",")) if text else frozenset()
    except ValueError:
        names = ", ".join(TaskStatus)
        detail = f"is one or more of {names}, separated by commas"
        raise InvalidParameter("status", detail) from None


def mine_or_all(call: Call) -> str | None:
    """`?scope=`: the caller, or None for everybody, which takes an admin."""
    if (one_of(call, "scope", ("mine", "all")) or "mine") == "mine":
        return call.principal.subject
    call.principal.require(ADMIN)
    return None
