"""Tokens made on the machine of the server, where its secret is."""

from __future__ import annotations

from collections.abc import Iterable

from api.app import auth_config
from api.auth import make_token
from api.settings import Settings


def sign(
    settings: Settings,
    *,
    subject: str,
    scopes: Iterable[str],
    ttl_seconds: int,
    issued_at: int | None = None,
) -> str | None:
    """Make a token that a server with these settings accepts.

    Returns:
        The token; None when the server only has a public key and somebody else signs.

    Raises:
        SettingsError: The secret cannot be used.
    """
    config = auth_config(settings)
    if config.secret is None:
        return None
    return make_token(
        config.secret,
        subject=subject,
        scopes=scopes,
        ttl_seconds=ttl_seconds,
        issuer=config.issuer,
        audience=config.audience,
        issued_at=issued_at,
    )
