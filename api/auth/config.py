"""What tokens are checked against, and the refusal to start with keys that protect nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from api.settings import MIN_SECRET_BYTES
from orchestrator.errors import SettingsError

Algorithm = Literal["HS256", "RS256", "ES256"]

MIN_RSA_BITS = 2048  # RFC 7518 3.3
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class AuthConfig:
    """One algorithm, one source of keys, one issuer, one audience.

    Raises:
        SettingsError: They do not fit together, or a key is empty, weak or of another kind.
    """

    algorithm: Algorithm
    issuer: str
    audience: str
    secret: str | None = field(default=None, repr=False)
    """Key of HS256."""
    public_key_pem: str | None = None
    """Key of RS256 or ES256."""
    jwks_url: str | None = None
    """Where keys of RS256 or ES256 are fetched."""

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise SettingsError("POSTSTREAM_JWT_ISSUER and _AUDIENCE must not be empty.")
        sources = {"secret": self.secret, "key": self.public_key_pem, "url": self.jwks_url}
        given = [name for name, value in sources.items() if value is not None]
        fitting = ["secret"] if self.algorithm == "HS256" else ["key", "url"]
        if len(given) != 1 or given[0] not in fitting:
            raise SettingsError(
                "HS256 needs POSTSTREAM_JWT_SECRET; RS256 and ES256 need either "
                "POSTSTREAM_JWT_PUBLIC_KEY_FILE or POSTSTREAM_JWKS_URL."
            )
        if self.secret is not None:
            check_secret(self.secret)
        if self.public_key_pem is not None:
            check_public_key(self.public_key_pem, self.algorithm)
        if self.jwks_url is not None:
            _check_url(self.jwks_url)


def check_secret(secret: str) -> None:
    """Refuse a secret that can be guessed, or that is no secret at all.

    Raises:
        SettingsError: It is short, or it is a public or private key.
    """
    if len(secret.strip().encode()) < MIN_SECRET_BYTES:
        raise SettingsError(f"POSTSTREAM_JWT_SECRET must have at least {MIN_SECRET_BYTES} bytes.")
    if "-----BEGIN" in secret or secret.lstrip().startswith(("ssh-", "ecdsa-")):
        raise SettingsError(
            "POSTSTREAM_JWT_SECRET is a key file; its public half would open every door. "
            "Use POSTSTREAM_JWT_PUBLIC_KEY_FILE."
        )


def check_public_key(pem: str, algorithm: Algorithm) -> None:
    """Refuse a PEM text that is not a public key of the right kind and size.

    Raises:
        SettingsError: It is something else, e.g. a private key or a certificate.
    """
    name = "POSTSTREAM_JWT_PUBLIC_KEY_FILE"
    try:
        key = load_pem_public_key(pem.encode())
    except Exception as error:  # of any kind: the library has many, each means no key
        raise SettingsError(f"{name} is no public key in PEM (BEGIN PUBLIC KEY).") from error
    if algorithm == "RS256" and not (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS
    ):
        raise SettingsError(f"{name} must be an RSA key of at least {MIN_RSA_BITS} bits for RS256.")
    if algorithm == "ES256" and not (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        raise SettingsError(f"{name} must be a P-256 key for ES256.")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS
    if not local and not (parts.scheme == "https" and parts.hostname):
        raise SettingsError(
            "POSTSTREAM_JWKS_URL must be https: who changes the keys can sign tokens."
        )
