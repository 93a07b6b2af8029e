"""Tickets: what lets a browser's own EventSource, which sends no header, read one stream.

A ticket is signed and not stored: it says whose it is, what it opens and until when. So it costs
no write, leaves nothing to clean up, outlives a restart and holds on every process of the
installation. It opens one GET stream and nothing else, for minutes; within them it may be used
again, since an EventSource reconnects with the address it has.

A ticket has two segments where a JWT has three, so that neither can pass for the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import orjson

from api import strict_json
from api.auth.authenticator import refuse_tokens
from api.auth.principal import ADMIN, READ, Principal
from api.auth.tokens import canonical_bytes
from api.errors import Unauthorized
from api.headers import header_values

MAX_SECONDS = 900  # long enough for a reconnecting page, short for what stands in an address
MAX_BYTES = 4096  # a subject may have 255 characters of four bytes each
TICKET_KEY_NAME = "stream-tickets"


class Ticket(NamedTuple):
    """A ticket that was just made."""

    text: str
    expires_at_ms: int


class Tickets:
    """Makes tickets and knows its own.

    Args:
        find_key: Finds the key they are signed with, or makes it if told so; asked until found.
        wall_seconds: Wall time in seconds since 1970.
    """

    def __init__(
        self,
        find_key: Callable[[bool], Awaitable[bytes | None]],
        *,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._find_key = find_key
        self._key: bytes | None = None
        self._now = wall_seconds

    async def issue(self, principal: Principal, opens: str) -> Ticket:
        """Make a ticket.

        Args:
            principal: Whose it is; it ends with this one's token at the latest.
            opens: What it opens, as the route says it.
        """
        expires_at_ms = int(min(self._now() + MAX_SECONDS, principal.expires_at) * 1000)
        claims = [principal.subject, principal.may(ADMIN), opens, expires_at_ms]
        body = base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=")
        signature = await self._sign(body, make_key=True)
        return Ticket(f"{body.decode()}.{signature.decode()}", expires_at_ms)

    async def authenticate(
        self, ticket: bytes, opens: str, headers: list[tuple[bytes, bytes]], query_string: bytes
    ) -> Principal:
        """The principal of a request that came with a ticket; it may read, whatever its maker may.

        Args:
            ticket: As sent.
            opens: What the route wants opened.
            headers: Of the request: a token beside the ticket is refused, one of them must count.
            query_string: Of the request.

        Raises:
            Unauthorized: It is none of ours, is over, or opens something else.
        """
        refuse_tokens(query_string, but="ticket")
        if header_values(headers, b"authorization"):
            raise Unauthorized("Give either a token or a ticket, not both.")
        body, _, signature = ticket.partition(b".")
        if len(ticket) > MAX_BYTES or not hmac.compare_digest(await self._sign(body), signature):
            raise Unauthorized("The ticket is not valid.")
        subject, admin, opened, expires_at_ms = strict_json.parse(canonical_bytes(body))
        if opened != opens:
            raise Unauthorized("The ticket is for another stream.")
        if expires_at_ms <= self._now() * 1000:
            raise Unauthorized("The ticket has expired; ask for a new one.")
        scopes = frozenset({READ, ADMIN} if admin else {READ})
        return Principal(subject, scopes, expires_at_ms / 1000)

    async def _sign(self, body: bytes, *, make_key: bool = False) -> bytes:
        if self._key is None:
            self._key = await self._find_key(make_key)
        if self._key is None:
            raise Unauthorized("The ticket is not valid.")  # none was ever issued
        digest = hmac.digest(self._key, body, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=")
