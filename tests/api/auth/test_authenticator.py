from __future__ import annotations

import time
from base64 import urlsafe_b64decode
from typing import Any, get_args

import pytest

from api.auth import AuthConfig, Authenticator, Principal
from api.auth import authenticator as module
from api.auth.authenticator import refuse_tokens
from api.auth.config import Algorithm
from api.auth.tokens import MAX_TOKEN_BYTES
from api.errors import Unauthorized
from tests.api.auth.forging import (
    AUDIENCE,
    ISSUER,
    NOW,
    SECRET,
    Header,
    authenticator,
    b64,
    bearer,
    claims,
    good,
    hs,
    refused,
    token,
)

HS = {"alg": "HS256", "typ": "JWT"}
INVALID = b'Bearer error="invalid_token"'


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_a_good_token_names_its_principal(algorithm: Algorithm) -> None:
    found = authenticator(algorithm).authenticate(bearer(good(algorithm)), b"")
    assert found == Principal("alice", frozenset({"tasks:read"}), NOW + 60)


GOOD_HEADERS: dict[str, dict[str, Any]] = {
    "no type": {"alg": "HS256"},
    "access token": {"alg": "HS256", "typ": "at+jwt"},
    "kid": {**HS, "kid": "2026-11"},
    "thumbprint": {**HS, "x5t": "abc"},
}


@pytest.mark.parametrize("name", GOOD_HEADERS)
def test_harmless_header_fields_are_accepted(name: str) -> None:
    found = token(GOOD_HEADERS[name], claims(), hs())
    assert authenticator().authenticate(bearer(found), b"").subject == "alice"


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER ", b"Bearer   "])
def test_the_scheme_has_no_case(scheme: bytes) -> None:
    headers = [(b"authorization", scheme + good())]
    assert authenticator().authenticate(headers, b"after=5").subject == "alice"


def test_the_largest_token_is_accepted() -> None:
    spare = MAX_TOKEN_BYTES - len(good(pad=""))
    found = good(pad="x" * (spare * 3 // 4 - 1))
    assert MAX_TOKEN_BYTES - 4 < len(found) <= MAX_TOKEN_BYTES
    assert authenticator().authenticate(bearer(found), b"").subject == "alice"


# --- no token where one belongs ------------------------------------------------------------------

ABSENT: dict[str, list[Header]] = {
    "no header": [],
    "empty": [(b"authorization", b"")],
    "scheme only": [(b"authorization", b"Bearer")],
    "scheme and blanks": [(b"authorization", b"Bearer   ")],
    "no scheme": [(b"authorization", good())],
    "other scheme": [(b"authorization", b"Token " + good())],
    "JWT as scheme": [(b"authorization", b"JWT " + good())],
    "basic": [(b"authorization", b"Basic YWxpY2U6c2VjcmV0")],
    "tab": [(b"authorization", b"Bearer\t" + good())],
    "equals sign": [(b"authorization", b"Bearer=" + good())],
    "colon": [(b"authorization", b"Bearer: " + good())],
    "cookie": [(b"cookie", b"token=" + good())],
    "proxy": [(b"proxy-authorization", b"Bearer " + good())],
    "X-Authorization": [(b"x-authorization", b"Bearer " + good())],
    "forwarded user": [(b"x-forwarded-user", b"alice"), (b"x-remote-user", b"alice")],
}


@pytest.mark.parametrize("name", ABSENT)
def test_without_a_token_a_token_is_asked_for(name: str) -> None:
    challenge, _ = refused(authenticator(), ABSENT[name])
    assert challenge == b"Bearer"


# --- tokens that are not in the shape of one -----------------------------------------------------

HEAD, BODY, SIGNATURE = good().split(b".")

SHAPES: dict[str, bytes] = {
    "one segment": HEAD,
    "two segments": HEAD + b"." + BODY,
    "no signature": HEAD + b"." + BODY + b".",
    "no payload": HEAD + b".." + SIGNATURE,
    "no header": b"." + BODY + b"." + SIGNATURE,
    "four segments": good() + b"." + SIGNATURE,
    "dots": b"..",
    "JWE": b".".join([HEAD, BODY, b"aXY", BODY, SIGNATURE]),
    "signature of zeros": HEAD + b"." + BODY + b"." + b64(bytes(32)),
    "signature cut": good()[:-4],
    "signature and junk": good() + b"!!",
    "signature padded": good() + b"=",
    "signature and newline": good() + b"\n",
    "signature, last bits set": good()[:-1] + bytes([good()[-1] + 1]),
    "blank inside": HEAD + b". " + BODY + b"." + SIGNATURE,
    "two tokens": good() + b" " + good(),
    "two tokens, comma": good() + b", Bearer " + good(),
    "quoted": b'"' + good() + b'"',
    "not ASCII": "e\u0443JhbGciOiJIUzI1NiJ9".encode() + b"." + BODY + b"." + SIGNATURE,
    "NUL": good() + b"\x00",
    "ordinary base64": HEAD + b"." + BODY + b".+/" + SIGNATURE[2:],
    "too long": good(pad="x" * MAX_TOKEN_BYTES),
    "a megabyte": good(pad="x" * 1_000_000),
    "a megabyte of dots": b"." * 1_000_000,
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_token_has_one_spelling(name: str) -> None:
    challenge, _ = refused(authenticator(), bearer(SHAPES[name]))
    assert challenge == INVALID


def test_the_two_last_bits_of_the_signature_did_not_count() -> None:
    odd = SHAPES["signature, last bits set"].split(b".")[2]
    assert urlsafe_b64decode(odd + b"=") == urlsafe_b64decode(SIGNATURE + b"=")


def test_authorization_given_twice_is_refused() -> None:
    field = (b"authorization", b"Bearer " + good())
    for headers in ([field, field], [field, (b"authorization", b"")]):
        assert refused(authenticator(), headers)[0] == INVALID


# --- tokens in the address -----------------------------------------------------------------------

QUERIES: dict[str, bytes] = {
    "access_token": b"access_token=" + good(),
    "token": b"after=1&token=" + good(),
    "jwt": b"jwt=" + good(),
    "authorization": b"authorization=Bearer%20" + good(),
    "capitals": b"Access_Token=x",
    "escaped name": b"%61ccess_token=x",
    "empty value": b"token=",
    "no value": b"token",
    "any name": b"q=" + good(),
    "as a name": good() + b"=1",
    "escaped value": b"q=" + good().replace(b"e", b"%65").replace(b".", b"%2E"),
    "inside a value": b"q=see(" + good() + b")",
    "unsigned": b"q=" + b64({"alg": "none"}) + b"." + b64(claims()) + b".",
    "with blanks": b"q=" + b64(' {"alg": "HS256"}') + b"." + b64(claims()) + b".x",
    "encrypted": b"q=" + b64({"alg": "dir", "enc": "A"}) + b"..aXY.Y3Q.dGFn",
    "ticket": b"ticket=" + good(),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("headers", [[], bearer(good())], ids=["alone", "beside a header"])
def test_a_token_in_the_address_is_refused(name: str, headers: list[Header]) -> None:
    challenge, words = refused(authenticator(), headers, QUERIES[name])
    assert challenge == INVALID
    assert "URL" in words


@pytest.mark.parametrize(
    "query_string",
    [
        b"after=5",
        b"q=Zm9vYmFy.c2lnbmF0dXJl",
        b"q=eyJhIjoxfQ.c2lnbmF0dXJl",
        b"q=example.co.uk",
        b"q=e0e0.e0e0.e0e0",
        b"q=1.2.3&metadata.token=x&tokens=1",
        b"q=%ff%00..",
        b"=&&=&%",
    ],
)
def test_ordinary_queries_are_no_tokens(query_string: bytes) -> None:
    assert authenticator().authenticate(bearer(good()), query_string).subject == "alice"


def test_a_ticket_is_no_token_but_neither_may_stand_where_it_does_not_belong() -> None:
    ticket = b"ticket=eyJhIjoxfQ.c2lnbmF0dXJl"
    refuse_tokens(ticket + b"&after=5", but="ticket")
    for query in (ticket, b"&Ticket=x", ticket + b"&token=x", b"ticket=" + good()):
        with pytest.raises(Unauthorized):
            refuse_tokens(query, but="" if query is ticket else "ticket")


def test_a_long_query_is_looked_through_quickly() -> None:
    for part in (b"e0", b"eyJ", b"e.", b"."):
        started = time.perf_counter()
        authenticator().authenticate(bearer(good()), b"q=" + part * (100_000 // len(part)))
        assert time.perf_counter() - started < 2


# --- what is remembered --------------------------------------------------------------------------


class Clock:
    """Wall time that tests set."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


class Counting(Authenticator):
    """Counts the tokens it verifies."""

    verified = 0

    def _verify(self, token: bytes, now: float) -> Principal:
        self.verified += 1
        return super()._verify(token, now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counting(clock: Clock) -> Counting:
    config = AuthConfig(algorithm="HS256", secret=SECRET, issuer=ISSUER, audience=AUDIENCE)
    return Counting(config, wall_seconds=clock)


def test_a_verified_token_is_remembered(counting: Counting) -> None:
    first = counting.authenticate(bearer(good()), b"")
    assert counting.authenticate(bearer(good()), b"") is first
    assert counting.verified == 1
    counting.authenticate(bearer(good(sub="bob")), b"")
    assert counting.verified == 2


def test_a_remembered_token_expires_all_the_same(counting: Counting, clock: Clock) -> None:
    counting.authenticate(bearer(good(exp=NOW + 60)), b"")
    clock.now = NOW + 59.9
    counting.authenticate(bearer(good(exp=NOW + 60)), b"")
    assert counting.verified == 1
    clock.now = NOW + 60
    assert refused(counting, bearer(good(exp=NOW + 60)))[1] == "The token has expired."


def test_no_token_is_remembered_for_longer_than_five_minutes(
    counting: Counting, clock: Clock
) -> None:
    found = bearer(good(exp=NOW + 86_400))
    for now, verified in [(NOW, 1), (NOW + 299, 1), (NOW + 300, 2), (NOW + 599, 2)]:
        clock.now = now
        counting.authenticate(found, b"")
        assert counting.verified == verified


def test_a_clock_that_is_set_back_makes_nothing_valid_for_longer(
    counting: Counting, clock: Clock
) -> None:
    counting.authenticate(bearer(good(nbf=NOW)), b"")
    clock.now = NOW - 3600
    assert refused(counting, bearer(good(nbf=NOW)))[1] == "The token is not valid yet."


def test_refusals_are_not_remembered(counting: Counting, clock: Clock) -> None:
    refused(counting, bearer(good(nbf=NOW + 30)))
    clock.now = NOW + 30
    counting.authenticate(bearer(good(nbf=NOW + 30)), b"")
    assert counting.verified == 2


def test_the_oldest_token_is_forgotten_first(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CACHED_TOKENS", 3)
    for subject in "abcd":
        counting.authenticate(bearer(good(sub=subject)), b"")
    for subject in "bcd":
        counting.authenticate(bearer(good(sub=subject)), b"")
    assert counting.verified == 4
    counting.authenticate(bearer(good(sub="a")), b"")
    assert counting.verified == 5


def test_nothing_remembered_survives_a_change_of_keys(counting: Counting) -> None:
    counting.authenticate(bearer(good()), b"")
    counting.forget_tokens()
    counting.authenticate(bearer(good()), b"")
    assert counting.verified == 2


async def test_fixed_keys_need_no_patience(counting: Counting) -> None:
    await counting.keep_keys_fresh()
    found = await counting.authenticate_patiently(iter(bearer(good())), b"")
    assert found.subject == "alice"
