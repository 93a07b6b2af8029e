"""Where an answer goes: to a server of any kind, or to one of ours, which can do more.

Every answer has one. It knows what was said so far, so that nobody on the way has to listen to
each message for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from starlette.types import Message, Scope, Send

WIRE = "poststream.wire"
"""ASGI extension of our server: the outlet of the answer, a `Wire`."""


class Outlet:
    """What is known of an answer, and what can be done with it beside sending messages.

    This one can do nothing; see `api.wire.Wire`.
    """

    __slots__ = ("extra", "sent", "status")

    def __init__(self) -> None:
        self.extra: Sequence[tuple[bytes, bytes]] = ()
        """Header fields beside those of the application; set before the answer begins."""
        self.status: int | None = None
        """Of the answer; None until it begins."""
        self.sent = 0
        """How many bytes of the body were sent; what was pushed counts with its framing."""

    def push(self, chunk: bytes) -> bool:
        """Write a chunk of a body that has begun; see `Wire.push`."""
        return False

    def abort(self) -> None:
        """End the connection at once, whatever waits to be sent, if that can be done."""


class _Counted(Outlet):
    """An answer that passes through here on its way to a foreign server."""

    __slots__ = ("_send",)

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Look at a message and pass it on."""
        if message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self.extra]}
        return self._send(message)


def outlet_of(scope: Scope, send: Send) -> tuple[Outlet, Send]:
    """The outlet of an answer, and the `send` to use from here on.

    Args:
        scope: The request.
        send: What came with it.
    """
    wire: Outlet | None = (scope.get("extensions") or {}).get(WIRE)
    if wire is not None:
        return wire, send
    counted = _Counted(send)
    return counted, counted.send
