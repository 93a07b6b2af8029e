"""Every fault of a request that only HTTP knows, in one tree.

    PoststreamError
    └── ApiError                     answered as a problem document
        ├── Unauthorized             no token, or one that is not accepted
        │   └── UnknownKey           it is signed with a key that is not known (yet)
        ├── Forbidden                the caller is known and may not do this
        │   └── MissingScope         the token lacks a scope
        ├── NotFound                 nothing there, or nothing of this caller's
        ├── MethodNotAllowed         the path exists, the method does not
        ├── UnsupportedMediaType     a body that is not plain JSON
        ├── InvalidJson              a body that no strict reader accepts
        ├── InvalidLastEventId       a cursor that is no number
        ├── InvalidIdempotencyKey    a key outside its alphabet, or given twice
        ├── InvalidParameter         a query parameter with a value that cannot be used
        └── ConnectionFault          answered, and the connection is closed
            ├── BadFraming           a request whose bounds or host are in doubt
            ├── HeaderTooLarge       more header fields than anybody needs
            ├── UriTooLong           a request target longer than anybody needs
            ├── PayloadTooLarge      a body over the limit
            └── RequestTimeout       a body that does not come to its end
    ClientDisconnected               nobody is left to answer; a PoststreamError of its own

Which status, slug and title each of them gets stands in one table, in `api.problems`.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.errors import PoststreamError

Header = tuple[bytes, bytes]


class ApiError(PoststreamError):
    """Base of the faults of a request that only HTTP knows.

    Args:
        detail: What is wrong and what would be right, for the person who made the request.
        headers: Header fields the answer needs besides the usual ones; names in lower case.
    """

    def __init__(self, detail: str, *, headers: Iterable[Header] = ()) -> None:
        super().__init__(detail)
        self.headers = tuple(headers)


class Unauthorized(ApiError):
    """Raised when a request carries no token, or one that is not accepted.

    Args:
        detail: Why, without saying anything about keys.
        token_given: Whether there was a token; RFC 6750 names an error only then.
    """

    def __init__(self, detail: str, *, token_given: bool = True) -> None:
        challenge = b'Bearer error="invalid_token"' if token_given else b"Bearer"
        super().__init__(detail, headers=[(b"www-authenticate", challenge)])


class UnknownKey(Unauthorized):
    """Raised when a token names a key that is not in the issuer's key set as it is known."""

    def __init__(self) -> None:
        super().__init__("The token is signed with a key that is not known.")


class Forbidden(ApiError):
    """Raised when the caller is known and may not do this."""


class MissingScope(Forbidden):
    """Raised when the caller's token lacks a scope; the text names it."""

    def __init__(self, scope: str) -> None:
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'.encode()
        super().__init__(
            f"This needs a token with the scope {scope}.",
            headers=[(b"www-authenticate", challenge)],
        )
        self.scope = scope


class NotFound(ApiError):
    """Raised for a path that leads nowhere."""

    def __init__(self) -> None:
        super().__init__("There is nothing here.")


class MethodNotAllowed(ApiError):
    """Raised when a path exists but not for this method.

    Args:
        allowed: The methods it exists for, in capitals.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        methods = ", ".join(allowed)
        super().__init__(
            f"Allowed here: {methods or 'no method at all'}.",
            headers=[(b"allow", methods.encode())],
        )


class UnsupportedMediaType(ApiError):
    """Raised when a body is not plain JSON."""


class InvalidJson(ApiError):
    """Raised when a body is JSON that no strict reader accepts, or no JSON."""


class InvalidLastEventId(ApiError):
    """Raised when Last-Event-ID or ``after`` is no number of an event."""

    def __init__(self) -> None:
        super().__init__(
            "Last-Event-ID (or ?after=) is the number of an event: 1 to 18 digits, given once."
        )


class InvalidIdempotencyKey(ApiError):
    """Raised when an Idempotency-Key cannot be one."""

    def __init__(self) -> None:
        super().__init__(
            "Idempotency-Key has 1 to 255 visible ASCII characters, bare or in quotes, given once."
        )


class InvalidParameter(ApiError):
    """Raised when a query parameter has a value that cannot be used.

    Args:
        name: The parameter, as the route declares it.
        detail: What would be right, e.g. ``is a number from 1 to 200``.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"The parameter {name} {detail}.")
        self.name = name


class ConnectionFault(ApiError):
    """Raised when the connection cannot be trusted with another request.

    Args:
        detail: What is wrong with the request.
        unread: Whether the client may still be sending; see `api.problems.send_problem`.
    """

    def __init__(self, detail: str, *, unread: bool = False) -> None:
        super().__init__(detail, headers=[(b"connection", b"close")])
        self.unread = unread


class BadFraming(ConnectionFault):
    """Raised when it is in doubt where a request ends or whom it is for."""


class HeaderTooLarge(ConnectionFault):
    """Raised when a request brings more header fields than anybody needs."""


class UriTooLong(ConnectionFault):
    """Raised when a request target is longer than anybody needs."""


class PayloadTooLarge(ConnectionFault):
    """Raised when a body is larger than it may be."""

    def __init__(self, max_bytes: int, *, unread: bool) -> None:
        super().__init__(f"The body is larger than {max_bytes} bytes.", unread=unread)
        self.max_bytes = max_bytes


class RequestTimeout(ConnectionFault):
    """Raised when a body does not come to its end in time."""


class ClientDisconnected(PoststreamError):
    """Raised when the client left before its request was complete; nobody reads an answer."""
