"""Makes tokens, good and forged, without the library that checks them."""

from __future__ import annotations

import base64
import functools
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from api.auth import AuthConfig, Authenticator
from api.auth.config import Algorithm
from api.errors import Unauthorized

NOW = 1_800_000_000
SECRET = "a-secret-of-thirty-two-bytes-or-more"
ISSUER, AUDIENCE = "https://issuer.example", "poststream"

Sign = Callable[[bytes], bytes]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
Header = tuple[bytes, bytes]


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token; ... takes one away."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "scope": "tasks:read", "exp": NOW + 60}
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def b64(data: bytes | str | Any) -> bytes:
    """Bytes, text or a JSON value as base64url without padding."""
    if not isinstance(data, bytes | str):
        data = json.dumps(data)
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def token(header: Any, payload: Any, sign: Sign) -> bytes:
    """A compact token; header and payload as JSON values or as the text itself."""
    signed = b64(header) + b"." + b64(payload)
    return signed + b"." + b64(sign(signed))


def hs(secret: str | bytes = SECRET, digest: str = "sha256") -> Sign:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda signed: hmac.new(key, signed, digest).digest()


def rs(key: rsa.RSAPrivateKey, digest: hashes.HashAlgorithm | None = None) -> Sign:
    return lambda signed: key.sign(signed, padding.PKCS1v15(), digest or hashes.SHA256())


def ps(key: rsa.RSAPrivateKey) -> Sign:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)
    return lambda signed: key.sign(signed, pss, hashes.SHA256())


def es(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm | None = None) -> Sign:
    size = (key.curve.key_size + 7) // 8

    def sign(signed: bytes) -> bytes:
        r, s = decode_dss_signature(es_der(key, digest)(signed))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def es_der(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm | None = None) -> Sign:
    return lambda signed: key.sign(signed, ec.ECDSA(digest or hashes.SHA256()))


def fixed(signature: bytes) -> Sign:
    return lambda _: signature


@functools.cache
def rsa_key(which: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key(which: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def public(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    encoding: serialization.Encoding = serialization.Encoding.PEM,
    form: serialization.PublicFormat = serialization.PublicFormat.SubjectPublicKeyInfo,
) -> bytes:
    return key.public_key().public_bytes(encoding, form)


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def rsa_jwk(key: rsa.RSAPrivateKey, **more: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **more}


def ec_jwk(key: ec.EllipticCurvePrivateKey, **more: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    curve = {"secp256r1": "P-256", "secp384r1": "P-384"}[key.curve.name]
    return {"kty": "EC", "crv": curve, "x": number(numbers.x), "y": number(numbers.y), **more}


def authenticator(algorithm: Algorithm = "HS256", *, now: float = NOW) -> Authenticator:
    keys = {
        "HS256": {"secret": SECRET},
        "RS256": {"public_key_pem": public(rsa_key("server")).decode()},
        "ES256": {"public_key_pem": public(ec_key("server")).decode()},
    }[algorithm]
    config = AuthConfig(algorithm=algorithm, issuer=ISSUER, audience=AUDIENCE, **keys)
    return Authenticator(config, wall_seconds=lambda: now)


def signer(algorithm: Algorithm) -> Sign:
    return {
        "HS256": lambda: hs(),
        "RS256": lambda: rs(rsa_key("server")),
        "ES256": lambda: es(ec_key("server")),
    }[algorithm]()


def good(algorithm: Algorithm = "HS256", **changes: Any) -> bytes:
    header = {"alg": algorithm, "typ": "JWT"}
    return token(header, claims(**changes), signer(algorithm))


def bearer(found: bytes) -> list[Header]:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + found)]


def refused(
    by: Authenticator, headers: list[Header], query_string: bytes = b""
) -> tuple[bytes, str]:
    """The challenge and the words with which a request is refused."""
    with pytest.raises(Unauthorized) as raised:
        by.authenticate(headers, query_string)
    ((name, challenge),) = raised.value.headers
    assert name == b"www-authenticate"
    return challenge, str(raised.value)
