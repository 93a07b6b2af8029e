"""Endpoints: who calls, may they, what is answered when it goes wrong. One place for all routes.

A route is a table of handlers by method. A handler is given a `Call`, answers through it, and
raises what it cannot do; every error becomes a problem document here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import orjson
from starlette.types import Receive, Scope, Send

from api.auth import EXECUTE, Principal
from api.components import Components
from api.errors import Forbidden, Header, InvalidParameter, MethodNotAllowed, Unauthorized
from api.headers import parse_cursor, query_values
from api.outlet import Outlet, outlet_of
from api.problems import send_problem
from orchestrator.errors import TaskNotFound

logger = logging.getLogger(__name__)

NO_STORE = (b"cache-control", b"no-store")
NOSNIFF = (b"x-content-type-options", b"nosniff")


class Call:
    """One request on its way through a handler.

    Args:
        components: The server's parts.
        scope: The request.
        receive: Its body.
        send: Its answer.
        outlet: Where the answer goes.
    """

    __slots__ = ("components", "headers", "outlet", "principal", "receive", "scope", "send")

    principal: Principal
    """Who calls; not set on routes that are open to everybody."""

    def __init__(
        self, components: Components, scope: Scope, receive: Receive, send: Send, outlet: Outlet
    ) -> None:
        self.components = components
        self.scope = scope
        self.headers: list[Header] = scope["headers"]
        """Header fields of the request, names in lower case."""
        self.receive = receive
        self.send = send
        self.outlet = outlet

    @property
    def owner(self) -> str | None:
        """Whose tasks the caller may see: its own, or everybody's (None) for an admin."""
        return None if self.principal.may("admin") else self.principal.subject

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.scope["path_params"][name])

    def url(self, path: str) -> str:
        """A path of this server, below wherever it is mounted."""
        return f"{self.scope.get('root_path', '')}{path}"

    def parameter(self, name: str) -> str | None:
        """A query parameter; None when absent or empty.

        Raises:
            InvalidParameter: It is given twice, or is no UTF-8.
        """
        values = query_values(self.scope["query_string"], name)
        if len(values) > 1:
            raise InvalidParameter(name, "is given more than once")
        try:
            return values[0].decode() if values and values[0] else None
        except UnicodeDecodeError:
            raise InvalidParameter(name, "is no UTF-8") from None

    @property
    def last_event_id(self) -> int | None:
        """``?lastEventId=``: the last event the caller has seen before it asked for a change.

        Raises:
            InvalidLastEventId: It is none, or given twice.
        """
        return parse_cursor(query_values(self.scope["query_string"], "lastEventId"))

    def number(self, name: str, *, default: int, least: int, most: int) -> int:
        """A query parameter that is a number.

        Raises:
            InvalidParameter: It is none, or out of range.
        """
        text = self.parameter(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise InvalidParameter(name, f"is a number from {least} to {most}")
        if not least <= int(text) <= most:
            raise InvalidParameter(name, f"is a number from {least} to {most}")
        return int(text)

    async def answer(self, body: Any, *, status: int = 200, headers: list[Header] = []) -> None:  # noqa: B006 - never changed
        """Answer with JSON; absent values are left out by whoever made the body."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        all_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(data)),
            NO_STORE,
            NOSNIFF,
            *headers,
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": data})

    async def answer_nothing(self, *, headers: list[Header] = []) -> None:  # noqa: B006
        """Answer 204."""
        await self.send(
            {"type": "http.response.start", "status": 204, "headers": [NO_STORE, *headers]}
        )
        await self.send({"type": "http.response.body", "body": b""})


Handler = Callable[[Call], Awaitable[None]]


class Rule(NamedTuple):
    """A handler and who may call it."""

    handler: Handler
    scope: str | None
    """The scope a token needs; None for everybody, even without a token."""
    streams: bool = False
    """Whether it answers with a stream, so that HEAD makes no sense."""
    ticket: str | None = None
    """What a ticket must open to take the place of a token here, with parts of the path, e.g.
    ``tasks/{task_id}``; None where no ticket is accepted."""
    owned: bool = False
    """Whether those a task is shared with are told that they may not do this (403) instead of that
    there is nothing (404). So it is wherever the scope to execute is needed."""


class Endpoint:
    """The ASGI application of one route.

    Args:
        components: The server's parts, once it runs.
        rules: By method.
    """

    def __init__(self, components: Callable[[], Components], rules: Mapping[str, Rule]) -> None:
        self._components = components
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        outlet, send = outlet_of(scope, send)
        try:
            rule = self._rules.get(scope["method"]) or self._other_rule(scope["method"])
            call = Call(self._components(), scope, receive, send, outlet)
            if rule.scope is not None:
                call.principal = await _principal(call, rule)
                call.principal.require(rule.scope)
            try:
                await rule.handler(call)
            except TaskNotFound:
                if rule.owned or rule.scope == EXECUTE:
                    await _refuse_reader(call)
                raise
        except Exception as error:  # the boundary of a request: every error is answered here
            if outlet.status is not None:
                logger.exception("an answer broke off", extra={"path": scope["path"]})
                return
            await send_problem(error, scope, receive, send)

    def _other_rule(self, method: str) -> Rule:
        """The rule for a method that has none of its own."""
        rule = self._rules.get("GET")
        if method != "HEAD" or rule is None or rule.streams:
            raise MethodNotAllowed(self._allowed())
        return rule

    def _allowed(self) -> list[str]:
        allowed = list(self._rules)
        get = self._rules.get("GET")
        return [*allowed, "HEAD"] if get is not None and not get.streams else allowed


def _principal(call: Call, rule: Rule) -> Awaitable[Principal]:
    """Who calls, by its token or, where the route takes one, its ticket."""
    headers, query_string = call.headers, call.scope["query_string"]
    if rule.ticket is not None and query_string:
        tickets = query_values(query_string, "ticket")
        if len(tickets) > 1:
            raise Unauthorized("The ticket is given more than once.")
        if tickets:
            opens = rule.ticket.format(**call.scope.get("path_params", {}))
            return call.components.tickets.authenticate(tickets[0], opens, headers, query_string)
    return call.components.authenticator.authenticate_patiently(headers, query_string)


async def _refuse_reader(call: Call) -> None:
    """Refuse a caller who knows the task, since it is shared, but not what only its owner does."""
    task_id = call.scope.get("path_params", {}).get("task_id")
    sharing = call.components.service.sharing
    if task_id is not None and await sharing.may_read(task_id, call.principal.subject):
        raise Forbidden("The task is shared with you to read; only its owner may do this.")
