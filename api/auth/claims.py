"""What the claims of a token must say before they name a principal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from api.auth.principal import SCOPES, Principal
from api.errors import Unauthorized
from api.subjects import MAX_CHARACTERS, is_subject

MAX_CLOCK_SKEW_SECONDS = 5  # of nbf: a token must be usable the moment it is handed out
MAX_FUTURE_SECONDS = 60  # of iat: later than this is no skew but a mistake, or a lie
_LAST_SECOND = 253_402_300_799  # the end of year 9999; later times cannot be printed


def principal_of(claims: Mapping[str, Any], *, issuer: str, audience: str, now: float) -> Principal:
    """The principal that verified claims name.

    Args:
        claims: Of a token whose signature is right.
        issuer: What ``iss`` must be.
        audience: What ``aud`` must be or contain.
        now: Wall time in seconds since 1970.

    Raises:
        Unauthorized: A claim is missing, odd, or says that the token is not for here and now.
    """
    expires_at = _seconds(claims, "exp")
    if expires_at is None:
        raise Unauthorized("The token has no exp.")
    if expires_at <= now:
        raise Unauthorized("The token has expired.")
    not_before = _seconds(claims, "nbf")
    if not_before is not None and not_before > now + MAX_CLOCK_SKEW_SECONDS:
        raise Unauthorized("The token is not valid yet.")
    issued_at = _seconds(claims, "iat")
    if issued_at is not None and issued_at > now + MAX_FUTURE_SECONDS:
        raise Unauthorized("The token was issued in the future.")
    if claims.get("iss") != issuer:
        raise Unauthorized("The token comes from another issuer.")
    if audience not in _strings(claims, "aud"):
        raise Unauthorized("The token is meant for another audience.")
    scopes = claims.get("scope")
    words = scopes.split() if isinstance(scopes, str) else _strings(claims, "scope")
    return Principal(_subject(claims), SCOPES.intersection(words), expires_at)


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """A time; None when the claim is absent."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float) or not math.isfinite(value):  # a bool is an int to Python
        raise Unauthorized(f"The {name} of the token is no time.")
    if not 0 <= value <= _LAST_SECOND:
        raise Unauthorized(f"The {name} of the token is no time.")
    return float(value)


def _strings(claims: Mapping[str, Any], name: str) -> list[str]:
    """A claim that is a string or a list of strings; absent is an empty list."""
    value = claims.get(name, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(entry, str) for entry in values):
        raise Unauthorized(f"The {name} of the token is no string and no list of strings.")
    return values


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not is_subject(subject):
        raise Unauthorized(
            f"The sub of the token must be 1 to {MAX_CHARACTERS} visible characters."
        )
    return subject
