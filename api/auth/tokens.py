"""The only place that touches python-jose: signatures are its work, everything else is ours.

On its own the library accepts much that must be refused: any algorithm, junk after the signature,
``crit``, a claim twice, no ``exp``; and a deeply nested header ends in a RecursionError. So a
token is taken apart here first, by a strict reader, and the library is asked one question: is
this signature of this one algorithm right under this one key?
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jose import jwk, jws, jwt
from jose.backends.base import Key as Key

from api import strict_json
from api.auth.config import Algorithm, check_secret
from orchestrator.clock import Clock

MAX_TOKEN_BYTES = 8192  # before anything looks at it: parsing costs, and nobody needs more
MAX_KEY_ID_CHARACTERS = 255
_MAX_HEADER_DEPTH = 2
_MAX_CLAIMS_DEPTH = 16

_SHAPE = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_REFUSED_FIELDS = frozenset({
    "b64", "crit",  # would change what is signed
    "jku", "jwk", "x5c", "x5u",  # would bring a key along
    "cty", "enc", "zip",  # encrypted, nested or compressed
})  # fmt: skip


class MalformedToken(ValueError):
    """Raised when a token is not what a token may be."""


def verified_claims(
    token: bytes, *, algorithm: Algorithm, key_for: Callable[[str | None], Key]
) -> dict[str, Any]:
    """The claims of a token whose signature is right; what they say is not checked here.

    Args:
        token: The compact form, at most `MAX_TOKEN_BYTES`.
        algorithm: The only one that is accepted.
        key_for: Finds the key for a ``kid`` (None when the token names none).

    Raises:
        Exception: Of any kind: the token is not accepted.
    """
    segments = _SHAPE.fullmatch(token)
    if segments is None:
        raise MalformedToken("not three base64url segments")
    header, payload, _ = (canonical_bytes(segment) for segment in segments.groups())
    key_id = _checked_key_id(strict_json.parse(header, max_depth=_MAX_HEADER_DEPTH), algorithm)
    claims = strict_json.parse(payload, max_depth=_MAX_CLAIMS_DEPTH)
    jws.verify(token, key_for(key_id), algorithms=[algorithm])
    if not isinstance(claims, dict):
        raise MalformedToken("the claims are no object")
    return claims


def canonical_bytes(segment: bytes) -> bytes:
    """Decode base64url without padding; exactly one spelling of the same bytes is accepted.

    Raises:
        ValueError: It is another spelling, or none.
    """
    decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise MalformedToken("not canonical base64url")
    return decoded


def make_key(material: str | Mapping[str, str], algorithm: Algorithm) -> Key:
    """A key for verifying: of a secret, a public key in PEM, or the public fields of a JWK."""
    return jwk.construct(material, algorithm)


def make_token(
    secret: str,
    *,
    subject: str,
    scopes: Iterable[str],
    ttl_seconds: int,
    issuer: str,
    audience: str,
    issued_at: int | None = None,
) -> str:
    """Make a token signed with HS256.

    Args:
        secret: The server's secret, at least 32 bytes.
        subject: Whom it names: the owner of the tasks it starts.
        scopes: Scopes it carries.
        ttl_seconds: How long it is valid.
        issuer: ``iss``, as the server expects it.
        audience: ``aud``, as the server expects it.
        issued_at: Wall time in seconds since 1970; None is now.

    Raises:
        SettingsError: The secret is too weak to sign anything.
    """
    check_secret(secret)
    now = Clock().wall_ms() // 1000 if issued_at is None else issued_at
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + ttl_seconds,
    }
    return str(jwt.encode(claims, secret, algorithm="HS256"))


def _checked_key_id(header: Any, algorithm: Algorithm) -> str | None:
    if not isinstance(header, dict) or header.get("alg") != algorithm:
        raise MalformedToken("another algorithm")
    if not _REFUSED_FIELDS.isdisjoint(header):
        raise MalformedToken("a header field that is refused")
    if "typ" in header and str(header["typ"]).lower() not in _TYPES:
        raise MalformedToken("another type")
    key_id = header.get("kid")
    if key_id is not None and not (
        isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID_CHARACTERS
    ):
        raise MalformedToken("kid is no short string")
    return key_id
