"""Settings of the server: who may come in, from where, how much of it, and where it listens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from orchestrator.settings import RuntimeSettings
from orchestrator.settings_base import setting

MIN_SECRET_BYTES = 32  # RFC 7518 3.2: an HS256 key is at least as long as its hash

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class Settings(RuntimeSettings):
    """Every setting there is.

    Raises:
        SettingsError: A value cannot be used; the text names the setting, never a secret.
    """

    complete: ClassVar[bool] = True

    environment: Literal["development", "production"] = setting(
        "development",
        "`production` refuses to start without a secret or key of your own; `development` makes "
        "one in the data folder.",
    )
    jwt_secret: SecretStr | None = setting(
        None, "Secret that signs tokens with HS256, at least 32 bytes.", secret=True
    )
    jwt_algorithm: Literal["HS256", "RS256", "ES256"] | None = setting(
        None,
        "The one algorithm a token may be signed with: HS256 for a secret, RS256 (default) or "
        "ES256 for a public key.",
    )
    jwt_public_key_file: Path | None = setting(
        None, "PEM file with the public key of whoever signs the tokens."
    )
    jwks_url: str | None = setting(
        None, "Address of the key set of whoever signs the tokens, https only."
    )
    jwt_issuer: str = setting("poststream", "What `iss` of a token must be.")
    jwt_audience: str = setting("poststream", "What `aud` of a token must be or contain.")
    host: str = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(8000, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    public_url: str | None = setting(
        None, "Address under which clients reach the server, when it differs from host and port."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "Origins of pages that may call the server from a browser, separated by commas."
    )
    alert_webhook_url: SecretStr | None = setting(
        None,
        "Address that gets a POST of `{kind, taskId, title, since}` when a task is stuck, fails or "
        "was recovered; tried again for some minutes.",
        secret=True,
    )
    keepalive_seconds: float = setting(
        15,
        "Silence on a stream before a comment is sent, so that proxies keep it open and readers "
        "that went away are noticed.",
        "seconds",
        gt=0,
        allow_inf_nan=False,
    )
    poll_milliseconds: int = setting(
        3000,
        "How often the page asks for its lists again while somebody looks at them.",
        "milliseconds",
        ge=250,
    )
    max_body_bytes: int = setting(
        1024 * 1024,
        "Body of a request; larger ones are refused (413). Nobody may fill the memory.",
        "bytes",
        ge=1024,
    )
    max_streams: int = setting(
        20_000,
        "Streams and exports open at once, of all owners together; more are refused (503). Each "
        "takes some 20 KiB of memory and a descriptor.",
        "streams",
        ge=1,
    )
    max_streams_per_owner: int = setting(
        256,
        "Streams and exports one owner may have open; more are refused (429). Keeps a "
        "reconnecting page from taking every connection.",
        "streams",
        ge=1,
    )

    @field_validator("jwt_public_key_file")
    @classmethod
    def _expand_key_file(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser()

    @field_validator("jwt_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes")
        return secret

    @field_validator("jwks_url")
    @classmethod
    def _check_jwks_url(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://localhost")
        if parts.scheme == "https" and parts.hostname:
            return url
        if parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS:
            return url  # nobody sits between a machine and itself
        raise ValueError("must be an https:// address: who changes the keys can sign tokens")

    @field_validator("alert_webhook_url")
    @classmethod
    def _check_alert_webhook_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or re.fullmatch(r"https?://[^\s/?#]+[^\s#]*", url.get_secret_value()):
            return url
        raise ValueError("must be an http:// or https:// address")

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str | None) -> str | None:
        if url is None or re.fullmatch(r"https?://[^\s?#]+", url):
            return url if url is None else url.rstrip("/")
        raise ValueError("must be an http:// or https:// address without query")

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(
                r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", origin
            ):
                raise ValueError(
                    f"{origin!r} is no origin, e.g. https://example.com (no wildcards)"
                )
        return origins

    @model_validator(mode="after")
    def _check_keys(self) -> Settings:
        given = [
            name
            for name in ("jwt_secret", "jwt_public_key_file", "jwks_url")
            if getattr(self, name) is not None
        ]
        names = [f"POSTSTREAM_{name.upper()}" for name in given]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(names)} exclude each other: one key checks tokens")
        if not given and self.environment == "production":
            raise ValueError(
                "POSTSTREAM_ENVIRONMENT=production needs POSTSTREAM_JWT_SECRET, "
                "POSTSTREAM_JWT_PUBLIC_KEY_FILE or POSTSTREAM_JWKS_URL"
            )
        public_key = bool(given) and given != ["jwt_secret"]
        if self.jwt_algorithm is not None and public_key == (self.jwt_algorithm == "HS256"):
            raise ValueError(
                f"POSTSTREAM_JWT_ALGORITHM={self.jwt_algorithm} does not fit "
                f"{names[0] if names else 'the secret made in the data folder'}"
            )
        return self

    @property
    def algorithm(self) -> Literal["HS256", "RS256", "ES256"]:
        """The one algorithm a token may be signed with."""
        if self.jwt_algorithm is not None:
            return self.jwt_algorithm
        return "RS256" if self.jwt_public_key_file or self.jwks_url else "HS256"

    @property
    def url(self) -> str:
        """Where clients reach the server, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
