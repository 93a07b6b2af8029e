from __future__ import annotations

import pytest

from api.errors import InvalidIdempotencyKey, InvalidLastEventId
from api.headers import (
    Prefer,
    header_values,
    parse_cursor,
    parse_idempotency_key,
    parse_prefer,
    query_values,
    read_cursor,
)

CURSORS: dict[bytes, int] = {
    b"0": 0,
    b"1": 1,
    b"42": 42,
    b"007": 7,
    b"999999999999999999": 10**18 - 1,
}

NO_CURSORS = {
    "negative": b"-1",
    "plus": b"+1",
    "nineteen digits": b"1" * 19,
    "forty nines": b"9" * 40,
    "word": b"latest",
    "none": b"None",
    "null": b"null",
    "hex": b"0x10",
    "float": b"1.0",
    "exponent": b"1e3",
    "underscore": b"1_0",
    "arabic digit": "\u0661".encode(),
    "fullwidth digit": "\uff11".encode(),
    "superscript digit": "²".encode(),
    "latin-1 byte": b"\xb2",
    "blank before": b" 1",
    "blank after": b"1 ",
    "blank only": b" ",
    "newline after": b"1\n",
    "NUL after": b"1\x00",
    "list": b"1, 2",
    "quoted": b'"1"',
    "id of another task": b"3fa85f64-5717-4562-b3fc-2c963f66afa6:5",
    "sql": b"1 or 1=1",
    "path": b"../1",
}


@pytest.mark.parametrize("value", CURSORS)
def test_a_cursor_is_one_to_eighteen_digits(value: bytes) -> None:
    assert parse_cursor([value]) == CURSORS[value]


@pytest.mark.parametrize("values", [[], [b""]])
def test_an_empty_cursor_is_an_absent_one(values: list[bytes]) -> None:
    assert parse_cursor(values) is None


@pytest.mark.parametrize("name", NO_CURSORS)
def test_anything_else_is_no_cursor(name: str) -> None:
    with pytest.raises(InvalidLastEventId):
        parse_cursor([NO_CURSORS[name]])


@pytest.mark.parametrize("values", [[b"1", b"1"], [b"1", b"2"], [b"", b"1"], [b"", b""]])
def test_a_cursor_that_comes_twice_is_refused(values: list[bytes]) -> None:
    with pytest.raises(InvalidLastEventId):
        parse_cursor(values)


READS: list[tuple[list[bytes], bytes, int | None]] = [
    ([], b"", None),
    ([b"5"], b"", 5),
    ([], b"after=7", 7),
    ([b"5"], b"after=7", 5),
    ([b""], b"after=7", 7),
    ([b"0"], b"after=7", 0),
    ([], b"after=", None),
    ([], b"after", None),
    ([], b"before=1&after=%37", 7),
    ([], b"After=7", None),
]


@pytest.mark.parametrize(("fields", "query", "cursor"), READS)
def test_the_header_beats_the_parameter(
    fields: list[bytes], query: bytes, cursor: int | None
) -> None:
    headers = [(b"host", b"x"), *((b"last-event-id", value) for value in fields)]
    assert read_cursor(headers, query) == cursor


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ([b"5"], b"after=x"),
        ([b"x"], b"after=5"),
        ([], b"after=1&after=1"),
        ([], b"after=1&%61fter=1"),
        ([], b"after=+1"),
        ([], b"after=1%20"),
        ([], b"after=%D9%A1"),
        ([b"1", b"1"], b""),
    ],
)
def test_a_bad_cursor_is_never_passed_over(fields: list[bytes], query: bytes) -> None:
    with pytest.raises(InvalidLastEventId):
        read_cursor([(b"last-event-id", value) for value in fields], query)


KEYS: dict[bytes, str] = {
    b"k": "k",
    b"k" * 255: "k" * 255,
    b'"k"': "k",
    b'"' + b"k" * 255 + b'"': "k" * 255,
    b'"a\\"b\\\\c"': 'a"b\\c',
    b"8e03978e-40d5-43e8-bc93-6894a57f9324": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    b"!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~": "!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    b'a"b': 'a"b',
    b'a"': 'a"',
}

NO_KEYS = {
    "empty": b"",
    "empty in quotes": b'""',
    "256 characters": b"k" * 256,
    "256 in quotes": b'"' + b"k" * 256 + b'"',
    "blank": b"a b",
    "blank in quotes": b'"a b"',
    "tab": b"a\tb",
    "newline": b"a\nb",
    "newline at the end": b"a\n",
    "carriage return": b"a\rb",
    "NUL": b"a\x00b",
    "escape": b"a\x1bb",
    "delete": b"a\x7fb",
    "latin-1": b"caf\xe9",
    "utf-8": "schlüssel".encode(),
    "quote without end": b'"a',
    "one quote": b'"',
    "two keys in one field": b"a, a",
    "two quoted keys": b'"a", "a"',
    "quote inside quotes": b'"a"b"',
    "unknown escape": b'"a\\nb"',
    "parameter": b'"a";v=1',
}


@pytest.mark.parametrize("value", KEYS, ids=lambda value: value[:40].decode())
def test_a_quoted_key_is_its_bare_content(value: bytes) -> None:
    assert parse_idempotency_key([value]) == KEYS[value]


def test_no_key_is_none() -> None:
    assert parse_idempotency_key([]) is None


@pytest.mark.parametrize("name", NO_KEYS)
def test_a_key_outside_its_alphabet_is_refused(name: str) -> None:
    with pytest.raises(InvalidIdempotencyKey):
        parse_idempotency_key([NO_KEYS[name]])


@pytest.mark.parametrize("values", [[b"a", b"a"], [b"a", b"b"], [b"", b"a"], [b"a", b""]])
def test_a_key_that_comes_twice_is_refused(values: list[bytes]) -> None:
    with pytest.raises(InvalidIdempotencyKey):
        parse_idempotency_key(values)


PREFERENCES: list[tuple[list[bytes], Prefer]] = [
    ([], Prefer()),
    ([b""], Prefer()),
    ([b"respond-async"], Prefer(respond_async=True)),
    ([b"Respond-Async"], Prefer(respond_async=True)),
    ([b"wait=10"], Prefer(wait_seconds=10)),
    ([b"wait=0"], Prefer(wait_seconds=0)),
    ([b"WAIT = 10"], Prefer(wait_seconds=10)),
    ([b'wait="10"'], Prefer(wait_seconds=10)),
    ([b"respond-async, wait=10"], Prefer(respond_async=True, wait_seconds=10)),
    ([b"wait=10", b"respond-async"], Prefer(respond_async=True, wait_seconds=10)),
    ([b"wait=10; foo=bar, return=minimal"], Prefer(wait_seconds=10)),
    ([b"wait=10, wait=20"], Prefer(wait_seconds=10)),
    ([b"wait=-1"], Prefer()),
    ([b"wait=1.5"], Prefer()),
    ([b"wait=" + b"9" * 40], Prefer()),
    ([b"wait"], Prefer()),
    ([b"respond-asynchronously"], Prefer()),
    ([b"handling=lenient, \xff\x00, ,;"], Prefer()),
]


@pytest.mark.parametrize(("values", "prefer"), PREFERENCES)
def test_preferences_that_make_no_sense_do_not_count(values: list[bytes], prefer: Prefer) -> None:
    assert parse_prefer(values) == prefer


def test_values_keep_their_order_and_empty_ones_stay() -> None:
    headers = [(b"a", b"1"), (b"b", b"2"), (b"a", b"")]
    assert header_values(headers, b"a") == [b"1", b""]
    assert query_values(b"a=1&b=2&a=&a&%61=x%26y+z&aa=3", "a") == [b"1", b"", b"", b"x&y z"]
    assert query_values(b"", "a") == []
