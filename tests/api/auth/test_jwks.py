from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from api.auth import AuthConfig, Authenticator
from api.auth import jwks as module
from api.auth.jwks import JwksKeys, read_key_set
from api.errors import Unauthorized, UnknownKey
from tests.api.auth.forging import (
    AUDIENCE,
    ISSUER,
    NOW,
    bearer,
    claims,
    ec_jwk,
    ec_key,
    es,
    number,
    rs,
    rsa_jwk,
    rsa_key,
    token,
)

URL = "https://issuer.example/keys"
FIRST, SECOND = rsa_jwk(rsa_key("server"), kid="1"), rsa_jwk(rsa_key("second"), kid="2")


def answered(body: Any, status: int = 200, **headers: str) -> httpx.Response:
    """An answer as it comes from the network: not read yet."""
    text = body if isinstance(body, str) else json.dumps(body)
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(text.encode()))


class Issuer(httpx.AsyncBaseTransport):
    """An issuer's server: what it answers, and how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.answer: Callable[[], httpx.Response] = lambda: answered({"keys": list(keys)})
        self.requests = 0
        self.asked = anyio.Event()

    def publish(self, *keys: dict[str, Any]) -> None:
        self.answer = lambda: answered({"keys": list(keys)})

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        self.asked.set()
        await anyio.lowlevel.checkpoint()
        return self.answer()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(FIRST)


@pytest.fixture
def by(issuer: Issuer) -> Authenticator:
    config = AuthConfig(algorithm="RS256", issuer=ISSUER, audience=AUDIENCE, jwks_url=URL)
    return Authenticator(config, wall_seconds=lambda: NOW, transport=issuer)


@pytest.fixture
def _any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_INTERVAL_SECONDS", 0.0)


def signed(which: str = "server", kid: Any = "1") -> list[tuple[bytes, bytes]]:
    header = {"alg": "RS256"} if kid is ... else {"alg": "RS256", "kid": kid}
    return bearer(token(header, claims(), rs(rsa_key(which))))


async def test_keys_are_fetched_when_they_are_first_needed(
    by: Authenticator, issuer: Issuer
) -> None:
    with pytest.raises(UnknownKey):
        by.authenticate(signed(), b"")
    assert (await by.authenticate_patiently(signed(), b"")).subject == "alice"
    by.authenticate(signed(), b"")
    assert issuer.requests == 1


async def test_a_token_without_a_key_name_means_the_only_key(
    by: Authenticator, issuer: Issuer
) -> None:
    assert (await by.authenticate_patiently(signed(kid=...), b"")).subject == "alice"


@pytest.mark.usefixtures("_any_time")
async def test_a_token_without_a_key_name_is_refused_among_several(
    by: Authenticator, issuer: Issuer
) -> None:
    issuer.publish(FIRST, SECOND)
    with pytest.raises(UnknownKey):
        await by.authenticate_patiently(signed(kid=...), b"")


@pytest.mark.usefixtures("_any_time")
async def test_a_new_key_is_found_and_an_old_one_forgotten(
    by: Authenticator, issuer: Issuer
) -> None:
    await by.authenticate_patiently(signed(), b"")
    issuer.publish(SECOND)
    assert (await by.authenticate_patiently(signed("second", "2"), b"")).subject == "alice"
    with pytest.raises(UnknownKey):
        by.authenticate(signed(), b"")  # although it was verified before


@pytest.mark.usefixtures("_any_time")
async def test_unchanged_keys_forget_no_tokens(by: Authenticator, issuer: Issuer) -> None:
    first = await by.authenticate_patiently(signed(), b"")
    with pytest.raises(UnknownKey):
        await by.authenticate_patiently(signed(kid="3"), b"")
    assert issuer.requests == 2
    assert by.authenticate(signed(), b"") is first


@pytest.mark.usefixtures("_any_time")
async def test_a_key_under_an_old_name_counts_as_another_one(
    by: Authenticator, issuer: Issuer
) -> None:
    await by.authenticate_patiently(signed(), b"")
    issuer.publish(rsa_jwk(rsa_key("second"), kid="1"))
    with pytest.raises(UnknownKey):
        await by.authenticate_patiently(signed("second", "9"), b"")
    with pytest.raises(Unauthorized, match="not valid"):
        by.authenticate(signed(), b"")


async def test_nobody_makes_the_server_ask_over_and_over(by: Authenticator, issuer: Issuer) -> None:
    for kid in "abcdef":
        with pytest.raises(UnknownKey):
            await by.authenticate_patiently(signed(kid=kid), b"")
    assert issuer.requests == 1


async def test_requests_that_wait_together_ask_once(by: Authenticator, issuer: Issuer) -> None:
    found = await asyncio.gather(*(by.authenticate_patiently(signed(), b"") for _ in range(20)))
    assert {principal.subject for principal in found} == {"alice"}
    assert issuer.requests == 1


def _broken() -> httpx.Response:
    raise httpx.ConnectError("no route")


BAD_ANSWERS: dict[str, Callable[[], httpx.Response]] = {
    "no connection": _broken,
    "error": lambda: answered({"keys": [SECOND]}, 500),
    "redirect": lambda: answered({"keys": [SECOND]}, 302, location="https://evil.example/"),
    "no JSON": lambda: answered("<html>"),
    "no keys": lambda: answered({"keys": []}),
    "list": lambda: answered([SECOND]),
    "keys of another kind": lambda: answered({"keys": [ec_jwk(ec_key("server"))]}),
    "too many": lambda: answered({"keys": [SECOND] * 101}),
    "too large": lambda: answered(" " * module.MAX_BYTES + json.dumps({"keys": [SECOND]})),
    "name twice": lambda: answered('{"keys":[],"keys":[]}'),
    "deep": lambda: answered("[" * 5000),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
@pytest.mark.usefixtures("_any_time")
async def test_a_fetch_that_fails_leaves_the_keys_as_they_were(
    by: Authenticator, issuer: Issuer, name: str
) -> None:
    first = await by.authenticate_patiently(signed(), b"")
    issuer.answer = BAD_ANSWERS[name]
    with pytest.raises(UnknownKey):
        await by.authenticate_patiently(signed("second", "2"), b"")
    assert issuer.requests == 2
    assert by.authenticate(signed(), b"") is first


@pytest.mark.usefixtures("_any_time")
async def test_an_issuer_that_does_not_answer_is_given_up(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep_forever()
            raise AssertionError

    monkeypatch.setattr(module, "FETCH_SECONDS", 0.01)
    keys = JwksKeys(URL, "RS256", on_change=lambda: None, transport=Silent())
    assert await keys.refresh()
    with pytest.raises(UnknownKey):
        keys.find("1")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.001)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)


@pytest.mark.usefixtures("_quick")
async def test_keys_are_kept_fresh_in_the_background(by: Authenticator, issuer: Issuer) -> None:
    issuer.answer = BAD_ANSWERS["no connection"]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(by.keep_keys_fresh)
        await issuer.asked.wait()
        issuer.publish(FIRST)
        with anyio.fail_after(5):
            while True:
                issuer.asked = anyio.Event()
                await issuer.asked.wait()
                try:
                    by.authenticate(signed(), b"")
                except UnknownKey:
                    continue
                break
        tasks.cancel_scope.cancel()


GOOD_ENTRIES: dict[str, dict[str, Any]] = {
    "bare": rsa_jwk(rsa_key("server")),
    "for signatures": rsa_jwk(
        rsa_key("server"), kid="1", use="sig", alg="RS256", key_ops=["verify"]
    ),
    "with a certificate": rsa_jwk(rsa_key("server"), x5c=["MIIB"], x5t="abc"),
}

BAD_ENTRIES: dict[str, Any] = {
    "no object": "key",
    "null": None,
    "no kind": {"kid": "1"},
    "secret": {"kty": "oct", "k": "c2VjcmV0"},
    "other kind": ec_jwk(ec_key("server")),
    "for encryption": rsa_jwk(rsa_key("server"), use="enc"),
    "for another algorithm": rsa_jwk(rsa_key("server"), alg="RS512"),
    "for HS256": rsa_jwk(rsa_key("server"), alg="HS256"),
    "for signing only": rsa_jwk(rsa_key("server"), key_ops=["sign"]),
    "small": rsa_jwk(rsa_key("small", 1024)),
    "no modulus": {"kty": "RSA", "e": "AQAB"},
    "exponent 1": {**rsa_jwk(rsa_key("server")), "e": number(1)},
    "odd name": rsa_jwk(rsa_key("server"), kid=1),
    "long name": rsa_jwk(rsa_key("server"), kid="k" * 256),
}


@pytest.mark.parametrize("name", GOOD_ENTRIES)
def test_a_key_that_fits_is_taken(name: str) -> None:
    fields, keys = read_key_set({"keys": [GOOD_ENTRIES[name]]}, "RS256")
    assert list(keys) == [GOOD_ENTRIES[name].get("kid")]
    assert [set(found) for found in fields.values()] == [{"kty", "n", "e"}]


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_a_key_that_does_not_fit_is_passed_over(name: str) -> None:
    _, keys = read_key_set({"keys": [BAD_ENTRIES[name], FIRST]}, "RS256")
    assert list(keys) == ["1"]


@pytest.mark.parametrize(
    "entry",
    [
        ec_jwk(ec_key("p384", ec.SECP384R1)),
        {**ec_jwk(ec_key("server")), "y": number(5)},
        {**ec_jwk(ec_key("server")), "crv": "secp256k1"},
    ],
    ids=["other curve", "not on the curve", "unknown curve"],
)
def test_an_elliptic_key_must_be_a_point_of_its_curve(entry: dict[str, Any]) -> None:
    fitting = ec_jwk(ec_key("server"), kid="fits")
    _, keys = read_key_set({"keys": [entry, fitting]}, "ES256")
    assert list(keys) == ["fits"]


async def test_elliptic_keys_verify_too() -> None:
    config = AuthConfig(algorithm="ES256", issuer=ISSUER, audience=AUDIENCE, jwks_url=URL)
    issuer = Issuer(ec_jwk(ec_key("server"), kid="1"))
    by = Authenticator(config, wall_seconds=lambda: NOW, transport=issuer)
    found = token({"alg": "ES256", "kid": "1"}, claims(), es(ec_key("server")))
    assert (await by.authenticate_patiently(bearer(found), b"")).subject == "alice"


def test_a_private_key_in_the_set_stays_private() -> None:
    entry = rsa_jwk(rsa_key("server"), d=number(rsa_key("server").private_numbers().d))
    fields, keys = read_key_set({"keys": [entry]}, "RS256")
    assert "d" not in fields[None]
    assert keys[None].is_public()
