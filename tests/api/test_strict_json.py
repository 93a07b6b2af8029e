from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.strict_json import MAX_DEPTH, StrictJsonError, parse


def nested(depth: int, core: bytes = b"", opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + core + closing * depth


ACCEPTED: dict[str, tuple[bytes, Any]] = {
    "object": (b'{"a":1}', {"a": 1}),
    "blanks around": (b' \t\r\n{ "a" : 1 }\n', {"a": 1}),
    "scalar": (b"1", 1),
    "null": (b"null", None),
    "colons in strings": (b'{"a:b":"c:d:e","f":":"}', {"a:b": "c:d:e", "f": ":"}),
    "escaped colon": (b'{"a\\u003ab":"\\u003A","c":1}', {"a:b": ":", "c": 1}),
    "same name in two objects": (b'[{"a":1},{"a":{"a":2}}]', [{"a": 1}, {"a": {"a": 2}}]),
    "surrogate pair": (b'"\\ud83d\\ude00"', "\U0001f600"),
    "escaped NUL": (b'"a\\u0000b"', "a\x00b"),
    "largest integer": (b"[9223372036854775807]", [2**63 - 1]),
    "smallest integer": (b"[-9223372036854775808]", [-(2**63)]),
    "digits in a string": (b'{"a":"' + b"9" * 50 + b'"}', {"a": "9" * 50}),
    "digits behind a quote": (b'{"a":"\\"' + b"9" * 50 + b'"}', {"a": '"' + "9" * 50}),
    "long fraction": (b"[0.12345678901234567890123]", [0.12345678901234567890123]),
    "long float": (b"[12345678901234567890.5]", [12345678901234567890.5]),
    "large exponent": (b"[1e308]", [1e308]),
    "deepest": (nested(MAX_DEPTH, b"1"), None),
    "deepest, empty": (nested(MAX_DEPTH), None),
    "many brackets, flat": (b"[" + b",".join([b"[]"] * 1000) + b"]", None),
    "brackets in a string": (b'"' + b"[" * 5000 + b'"', "[" * 5000),
    "__proto__": (b'{"__proto__":{"admin":true}}', {"__proto__": {"admin": True}}),
}

REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b"  \n",
    "cut": b'{"a":',
    "two documents": b"{}{}",
    "NUL after": b"{}\x00",
    "single quotes": b"{'a':1}",
    "comment": b"/**/{}",
    "trailing comma": b"[1,]",
    "bare name": b"{a:1}",
    "leading zero": b"[01]",
    "hex number": b"[0x10]",
    "plus": b"[+1]",
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "-Infinity": b"[-Infinity]",
    "float too large": b"[1e400]",
    "float too small": b"[-1e400]",
    "integer beyond 64 bits": b"[18446744073709551616]",
    "unsigned integer": b"[9223372036854775808]",
    "negative beyond 64 bits": b'{"a":-9223372036854775809}',
    "300 digits": b"[" + b"9" * 300 + b"]",
    "5,000 digits": b"[" + b"9" * 5000 + b"]",
    "long integer as the whole": b"9" * 20,
    "long integer after a string": b'["\\\\",' + b"9" * 20 + b"]",
    "same name": b'{"a":1,"a":2}',
    "same name, blank before the colon": b'{"a" :1,"a":2}',
    "same name, escaped": b'{"a":1,"\\u0061":2}',
    "same name, hidden by an escaped colon": b'{"a":1,"a":"\\u003a"}',
    "same name, capital escape": b'{"a":":","a":"\\u003A\\u003A"}',
    "same name, deep inside": b'[{"x":[{"a":1,"b":2,"a":1}]}]',
    "same name, empty": b'{"":1,"":1}',
    "lone high surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\udc00"',
    "reversed pair": b'"\\ude00\\ud83d"',
    "surrogate as name": b'{"\\ud800":1}',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without mark": '{"a":1}'.encode("utf-16-be"),
    "UTF-7": b"+AHsAIgBhACIAOgAxAH0-",
    "Latin-1": b'"\xe9"',
    "overlong": b'"\xc0\xaf"',
    "raw NUL": b'"a\x00b"',
    "raw newline": b'"a\nb"',
    "unknown escape": b'"\\x41"',
    "too deep": nested(MAX_DEPTH + 1),
    "too deep, with content": nested(MAX_DEPTH + 1, b"1"),
    "too deep, objects": nested(MAX_DEPTH + 1, b"1", b'{"a":', b"}"),
    "too deep in one of many": b"[" + b"[]," * 1000 + nested(MAX_DEPTH) + b"]",
    "2,000 deep": nested(2000),
    "2,000 objects deep": nested(2000, b"1", b'{"a":', b"}"),
    "100,000 deep": nested(100_000),
    "100,000 opened": b"[" * 100_000,
    "100,000 objects opened": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_ordinary_json_is_accepted(name: str) -> None:
    text, value = ACCEPTED[name]
    assert value is None or parse(text) == value
    parse(text)


@pytest.mark.parametrize("name", REFUSED)
def test_json_with_two_meanings_is_refused(name: str) -> None:
    with pytest.raises(StrictJsonError) as raised:
        parse(REFUSED[name])
    assert len(str(raised.value)) < 200


def test_an_integer_that_is_too_long_is_found_wherever_it_stands() -> None:
    for blanks in range(40):
        with pytest.raises(StrictJsonError, match="64 bits"):
            parse(b" " * blanks + b"[9223372036854775808]")


def test_depth_is_counted_in_containers() -> None:
    assert parse(b'{"a":1}', max_depth=1) == {"a": 1}
    with pytest.raises(StrictJsonError, match="deeper than 1 "):
        parse(b'{"a":[]}', max_depth=1)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1234567890123456789," * 50_000 + b"1]",
        b"[" + b"123456789012345678," * 50_000 + b"1]",
        b'"' + b"\\\\" * 500_000 + b'"',
        b'{"\\u003a":' + b"[{}]," * 0 + b"[" + b'{"a":1},' * 120_000 + b"1]}",
        b'["' + b'","'.join([b"e0"] * 200_000) + b'"]',
    ],
    ids=["19 digits", "18 digits", "backslashes", "escaped colon", "strings"],
)
def test_no_body_of_a_megabyte_takes_long(text: bytes) -> None:
    started = time.perf_counter()
    parse(text)
    assert time.perf_counter() - started < 2


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children) | st.dictionaries(st.text(st.sampled_from('a:"\\')), children)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_a_strict_writer_writes_is_read_back(value: Any) -> None:
    import json

    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert parse(text.encode()) == value


@given(st.dictionaries(st.text(st.sampled_from('a:"\\'), min_size=1), JSON, min_size=1), st.data())
def test_a_name_given_twice_is_always_seen(value: dict[str, Any], data: st.DataObject) -> None:
    import json

    name = data.draw(st.sampled_from(sorted(value)))
    other = data.draw(JSON)
    text = f"{json.dumps(value)[:-1]}, {json.dumps(name)} : {json.dumps(other)}}}"
    with pytest.raises(StrictJsonError, match="twice"):
        parse(text.encode())
