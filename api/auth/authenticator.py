"""From the header fields of a request to its principal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from api import strict_json
from api.auth.claims import principal_of
from api.auth.config import AuthConfig
from api.auth.principal import Principal
from api.auth.tokens import MAX_TOKEN_BYTES, Key, canonical_bytes, make_key, verified_claims
from api.errors import Unauthorized, UnknownKey

if TYPE_CHECKING:  # only who fetches keys pays for importing an HTTP client
    import httpx

    from api.auth.jwks import JwksKeys

MAX_CACHED_TOKENS = 10_000  # some 5 MB; whoever asks with more tokens pays for the signatures
MAX_CACHED_SECONDS = 300  # how long a token may outlive a key that was taken back

_TOKEN_PARAMETERS = frozenset({b"access_token", b"authorization", b"jwt", b"ticket", b"token"})
_WORD = re.compile(rb"[A-Za-z0-9_.-]+")


class _Cached(NamedTuple):
    principal: Principal
    since: float
    until: float


class Authenticator:
    """Verifies bearer tokens and remembers those it has verified.

    With a key set behind a URL, `keep_keys_fresh` has to run beside the server.

    Args:
        config: What tokens are checked against.
        wall_seconds: Wall time in seconds since 1970.
        transport: Takes the place of the network when keys are fetched.
    """

    def __init__(
        self,
        config: AuthConfig,
        *,
        wall_seconds: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._config = config
        self._now = wall_seconds
        self._cache: dict[bytes, _Cached] = {}
        self._jwks: JwksKeys | None = None
        self._key: Key | None = None
        if config.jwks_url is not None:
            from api.auth.jwks import JwksKeys

            self._jwks = JwksKeys(
                config.jwks_url,
                config.algorithm,
                on_change=self.forget_tokens,
                transport=transport,
            )
        else:
            self._key = make_key(config.secret or config.public_key_pem or "", config.algorithm)

    def authenticate(
        self, headers: Iterable[tuple[bytes, bytes]], query_string: bytes
    ) -> Principal:
        """The principal of a request.

        Args:
            headers: Its header fields, names in lower case.
            query_string: Its query as sent; a token in it is refused, because URLs are logged.

        Raises:
            Unauthorized: There is no token, or it is not accepted. `UnknownKey` when it names a
                key that is not known yet; `authenticate_patiently` then looks for it.
        """
        token = _bearer_token(headers)
        if query_string:
            refuse_tokens(query_string)
        if token is None:
            raise Unauthorized("This needs Authorization: Bearer <token>.", token_given=False)
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthorized(f"The token is larger than {MAX_TOKEN_BYTES} bytes.")
        digest = hashlib.sha256(token).digest()
        now = self._now()
        cached = self._cache.get(digest)
        if cached is not None and cached.since <= now < cached.until:
            return cached.principal
        principal = self._verify(token, now)
        self._remember(digest, principal, now)
        return principal

    async def authenticate_patiently(
        self, headers: Iterable[tuple[bytes, bytes]], query_string: bytes
    ) -> Principal:
        """As `authenticate`, but fetches the key set again for a key that is not known yet."""
        headers = list(headers)
        try:
            return self.authenticate(headers, query_string)
        except UnknownKey:
            if self._jwks is None or not await self._jwks.refresh():
                raise
            return self.authenticate(headers, query_string)

    async def keep_keys_fresh(self) -> None:
        """Fetch the key set now and then, for ever; returns at once when keys are fixed."""
        if self._jwks is not None:
            await self._jwks.keep_fresh()

    def forget_tokens(self) -> None:
        """Forget every verified token, because keys changed."""
        self._cache.clear()

    def _find(self, kid: str | None) -> Key:
        return self._key if self._jwks is None else self._jwks.find(kid)

    def _verify(self, token: bytes, now: float) -> Principal:
        config = self._config
        try:
            claims = verified_claims(token, algorithm=config.algorithm, key_for=self._find)
            return principal_of(claims, issuer=config.issuer, audience=config.audience, now=now)
        except Unauthorized:
            raise
        except Exception as error:  # whatever a forged token brings about, it is not accepted
            raise Unauthorized("The token is not valid.") from error

    def _remember(self, digest: bytes, principal: Principal, now: float) -> None:
        self._cache.pop(digest, None)
        if len(self._cache) >= MAX_CACHED_TOKENS:
            del self._cache[next(iter(self._cache))]  # the oldest: a dict keeps its order
        until = min(principal.expires_at, now + MAX_CACHED_SECONDS)
        self._cache[digest] = _Cached(principal, now, until)


def _bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    value: bytes | None = None
    for name, found in headers:
        if name == b"authorization":
            if value is not None:
                raise Unauthorized("Authorization is given twice.")
            value = found
    if value is None:
        return None
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        return None
    return token.strip(b" ")


def refuse_tokens(query_string: bytes, *, but: str = "") -> None:
    """Refuse a token or a ticket in a URL.

    Args:
        query_string: The query as sent.
        but: The one parameter that may be there.

    Raises:
        Unauthorized: There is one.
    """
    query = unquote_to_bytes(query_string)
    for part in query.split(b"&"):
        name = part.partition(b"=")[0]
        if name.strip().lower() in _TOKEN_PARAMETERS and name != but.encode():
            if name.strip().lower() == b"ticket":
                raise Unauthorized("A ticket in a URL opens its own stream, and nothing else.")
            raise Unauthorized("A token belongs in the Authorization header, never in a URL.")
    if b"." in query and any(_is_token(word.split(b".")) for word in _WORD.findall(query)):
        raise Unauthorized("A token belongs in the Authorization header, never in a URL.")


def _is_token(segments: list[bytes]) -> bool:
    """Whether a JOSE header stands before two more segments."""
    return any(_is_jose_header(segment) for segment in segments[:-2])


def _is_jose_header(segment: bytes) -> bool:
    try:
        return isinstance(strict_json.parse(canonical_bytes(segment), max_depth=8), dict)
    except ValueError:
        return False
