"""Settings of the server: keys, addresses, origins."""

from __future__ import annotations

from typing import Any

import pytest

from api.settings import Settings
from orchestrator.errors import SettingsError
from orchestrator.settings import RuntimeSettings, describe_settings

SECRET = "a-secret-of-thirty-two-bytes-or-more"


def test_defaults_are_those_of_the_contract() -> None:
    defaults = {row.name: (row.default, row.unit) for row in describe_settings(Settings())}
    expected = {
        "ENVIRONMENT": ("development", ""),
        "JWT_SECRET": ("", ""),
        "JWT_ALGORITHM": ("", ""),
        "JWT_PUBLIC_KEY_FILE": ("", ""),
        "JWKS_URL": ("", ""),
        "JWT_ISSUER": ("poststream", ""),
        "JWT_AUDIENCE": ("poststream", ""),
        "HOST": ("127.0.0.1", ""),
        "PORT": ("8000", ""),
        "PUBLIC_URL": ("", ""),
        "CORS_ORIGINS": ("", ""),
        "ALERT_WEBHOOK_URL": ("", ""),
        "KEEPALIVE_SECONDS": ("15", "seconds"),
        "POLL_MILLISECONDS": ("3000", "milliseconds"),
        "MAX_BODY_BYTES": (str(1024**2), "bytes"),
        "MAX_STREAMS": ("20000", "streams"),
        "MAX_STREAMS_PER_OWNER": ("256", "streams"),
    }
    assert {name: defaults[name] for name in expected} == expected
    assert len(defaults) == len(expected) + len(
        RuntimeSettings.model_fields
    )  # and those of the runtime


def test_production_needs_a_key_of_its_own() -> None:
    with pytest.raises(SettingsError, match=r"ENVIRONMENT=production needs POSTSTREAM_JWT_SECRET"):
        Settings(environment="production")
    assert Settings(environment="production", jwt_secret=SECRET).algorithm == "HS256"


def test_an_empty_secret_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSTREAM_ENVIRONMENT", "production")
    monkeypatch.setenv("POSTSTREAM_JWT_SECRET", "")
    with pytest.raises(SettingsError, match="JWT_SECRET"):
        Settings()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"jwt_secret": "short"}, "POSTSTREAM_JWT_SECRET .*32 bytes"),
        ({"jwt_secret": SECRET, "jwks_url": "https://a"}, "JWT_SECRET and .*JWKS_URL exclude"),
        (
            {"jwt_secret": SECRET, "jwt_algorithm": "RS256"},
            "RS256 does not fit POSTSTREAM_JWT_SECR",
        ),
        ({"jwt_public_key_file": "k.pem", "jwt_algorithm": "HS256"}, "HS256 does not fit"),
        ({"jwt_algorithm": "ES256"}, "ES256 does not fit the secret made in the data folder"),
        ({"jwt_algorithm": "none"}, "POSTSTREAM_JWT_ALGORITHM"),
        ({"jwks_url": "http://keys.example.com/"}, "POSTSTREAM_JWKS_URL .*https"),
        ({"jwks_url": "file:///etc/passwd"}, "POSTSTREAM_JWKS_URL .*https"),
        ({"public_url": "example.com"}, "POSTSTREAM_PUBLIC_URL .*http"),
        ({"cors_origins": "*"}, "POSTSTREAM_CORS_ORIGINS .*no wildcards"),
        ({"cors_origins": "null"}, "POSTSTREAM_CORS_ORIGINS"),
        ({"cors_origins": "https://a.example/path"}, "POSTSTREAM_CORS_ORIGINS"),
        ({"port": 65536}, "POSTSTREAM_PORT"),
        ({"keepalive_seconds": 0}, "POSTSTREAM_KEEPALIVE_SECONDS"),
    ],
)
def test_what_cannot_work_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text) as caught:
        Settings(**values)
    assert SECRET not in str(caught.value)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "algorithm"),
    [
        ({}, "HS256"),
        ({"jwt_secret": SECRET, "jwt_algorithm": "HS256"}, "HS256"),
        ({"jwt_public_key_file": "k.pem"}, "RS256"),
        ({"jwt_public_key_file": "k.pem", "jwt_algorithm": "ES256"}, "ES256"),
        ({"jwks_url": "https://keys.example.com/jwks"}, "RS256"),
        ({"jwks_url": "http://127.0.0.1:9000/jwks"}, "RS256"),
    ],
)
def test_there_is_exactly_one_algorithm(values: dict[str, Any], algorithm: str) -> None:
    assert Settings(**values).algorithm == algorithm


def test_the_secret_is_never_shown() -> None:
    settings = Settings(jwt_secret=SECRET)
    assert SECRET not in repr(settings) + repr(describe_settings(settings))
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"port": 1234, "host": "0.0.0.0"}, "http://127.0.0.1:1234"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"public_url": "https://example.com/"}, "https://example.com"),
    ],
)
def test_clients_are_told_one_address(values: dict[str, Any], url: str) -> None:
    assert Settings(**values).url == url


def test_origins_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSTREAM_CORS_ORIGINS", "https://a.example, http://localhost:3000/")
    assert Settings().cors_origins == ("https://a.example", "http://localhost:3000")
    assert Settings(cors_origins=["http://[::1]:1"]).cors_origins == ("http://[::1]:1",)
