from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.auth import AuthConfig
from orchestrator.errors import SettingsError
from tests.api.auth.forging import SECRET, ec_key, private_pem, public, rsa_key

URL = "https://issuer.example/keys"


def config(**values: Any) -> AuthConfig:
    return AuthConfig(**{"issuer": "i", "audience": "a", **values})


def pem(key: Any) -> str:
    return public(key).decode()


ACCEPTED: dict[str, dict[str, Any]] = {
    "secret": {"algorithm": "HS256", "secret": SECRET},
    "32 bytes": {"algorithm": "HS256", "secret": "x" * 32},
    "32 bytes in 16 characters": {"algorithm": "HS256", "secret": "\u00fc" * 16},
    "RSA key": {"algorithm": "RS256", "public_key_pem": pem(rsa_key("server"))},
    "EC key": {"algorithm": "ES256", "public_key_pem": pem(ec_key("server"))},
    "RSA keys": {"algorithm": "RS256", "jwks_url": URL},
    "EC keys": {"algorithm": "ES256", "jwks_url": URL},
    "local keys": {"algorithm": "RS256", "jwks_url": "http://localhost:8080/keys"},
    "keys at 127.0.0.1": {"algorithm": "RS256", "jwks_url": "http://127.0.0.1/keys"},
    "keys at ::1": {"algorithm": "RS256", "jwks_url": "http://[::1]:80/keys"},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"algorithm": "HS256"}, "HS256 needs"),
    "no key": ({"algorithm": "RS256"}, "RS256"),
    "empty secret": ({"algorithm": "HS256", "secret": ""}, "32 bytes"),
    "short secret": ({"algorithm": "HS256", "secret": "x" * 31}, "32 bytes"),
    "blanks": ({"algorithm": "HS256", "secret": " " * 64}, "32 bytes"),
    "short secret with newlines": ({"algorithm": "HS256", "secret": "x\n" + "\n" * 64}, "32 bytes"),
    "public key as secret": ({"algorithm": "HS256", "secret": pem(rsa_key("server"))}, "key file"),
    "OpenSSH key as secret": (
        {
            "algorithm": "HS256",
            "secret": public(ec_key("server"), Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        },
        "key file",
    ),
    "secret for RS256": ({"algorithm": "RS256", "secret": SECRET}, "RS256"),
    "key for HS256": ({"algorithm": "HS256", "public_key_pem": pem(rsa_key("server"))}, "HS256"),
    "secret and key": (
        {"algorithm": "HS256", "secret": SECRET, "public_key_pem": pem(rsa_key("server"))},
        "HS256",
    ),
    "key and keys": (
        {"algorithm": "RS256", "jwks_url": URL, "public_key_pem": pem(rsa_key("server"))},
        "either",
    ),
    "empty key": ({"algorithm": "RS256", "public_key_pem": ""}, "no public key"),
    "no PEM": ({"algorithm": "RS256", "public_key_pem": "ssh-rsa AAAA"}, "no public key"),
    "private key": (
        {"algorithm": "RS256", "public_key_pem": private_pem(rsa_key("server")).decode()},
        "no public key",
    ),
    "small RSA key": (
        {"algorithm": "RS256", "public_key_pem": pem(rsa_key("small", 1024))},
        "2048",
    ),
    "EC key for RS256": (
        {"algorithm": "RS256", "public_key_pem": pem(ec_key("server"))},
        "RSA key",
    ),
    "RSA key for ES256": (
        {"algorithm": "ES256", "public_key_pem": pem(rsa_key("server"))},
        "P-256",
    ),
    "other curve": (
        {"algorithm": "ES256", "public_key_pem": pem(ec_key("p384", ec.SECP384R1))},
        "P-256",
    ),
    "keys over http": ({"algorithm": "RS256", "jwks_url": "http://issuer.example/keys"}, "https"),
    "keys over http, local name": (
        {"algorithm": "RS256", "jwks_url": "http://localhost.evil.example/keys"},
        "https",
    ),
    "keys over http, local user": (
        {"algorithm": "RS256", "jwks_url": "http://localhost@evil.example/keys"},
        "https",
    ),
    "keys in a file": ({"algorithm": "RS256", "jwks_url": "file:///etc/keys"}, "https"),
    "keys without host": ({"algorithm": "RS256", "jwks_url": "https:///keys"}, "https"),
    "no issuer": ({"algorithm": "HS256", "secret": SECRET, "issuer": ""}, "ISSUER"),
    "no audience": ({"algorithm": "HS256", "secret": SECRET, "audience": ""}, "AUDIENCE"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_one_source_of_keys_that_fits_is_accepted(name: str) -> None:
    config(**ACCEPTED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_keys_that_protect_nothing_are_refused_at_the_start(name: str) -> None:
    values, words = REFUSED[name]
    with pytest.raises(SettingsError, match=words):
        config(**values)


def test_a_secret_is_never_shown() -> None:
    assert SECRET not in repr(config(algorithm="HS256", secret=SECRET))
    with pytest.raises(SettingsError) as raised:
        config(algorithm="HS256", secret="hunter2")
    assert "hunter2" not in str(raised.value)
