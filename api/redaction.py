"""Secrets that must never leave the server, replaced wherever a text goes to clients."""

from __future__ import annotations

from pydantic import SecretStr

from api.settings import Settings

MIN_CHARACTERS = 8  # shorter values would turn up in any text


class Redaction:
    """Replaces the values of secret settings in a text.

    Args:
        settings: Whose secrets.
    """

    def __init__(self, settings: Settings) -> None:
        values = (getattr(settings, name) for name in type(settings).model_fields)
        secrets = (v.get_secret_value() for v in values if isinstance(v, SecretStr))
        self._secrets = [secret for secret in secrets if len(secret) >= MIN_CHARACTERS]

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text
