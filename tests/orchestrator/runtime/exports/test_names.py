"""Paths in an archive stay inside it, on every file system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.exports.names import MAX_BYTES, safe_name, unique_path

NAMES = {
    "report.md": "report.md",
    "ünïcode 日本.md": "ünïcode 日本.md",
    "../../etc/passwd": "__.._etc_passwd",
    "/etc/passwd": "_etc_passwd",
    "..": "_",
    ".": "_",
    "": "_",
    ".bashrc": "_bashrc",
    "-rf": "_rf",
    "C:\\x": "C__x",
    "a\x00b\n\x1b[31m": "a_b__[31m",
    "gpj.\u202eexe": "gpj._exe",
    "CON": "_CON",
    "com1.txt": "_com1.txt",
    "lpt¹": "_lpt¹",
    "dots. . ": "dots_",
    "\ud800": "_",
    "a|b?*": "a_b__",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_made_safe(name: str) -> None:
    assert safe_name(name) == NAMES[name]


def test_a_long_name_is_cut_in_bytes_and_keeps_its_ending() -> None:
    for name in ("日" * 300 + ".json", "x" * 300 + ".md"):
        cut = safe_name(name)
        assert len(cut.encode()) <= MAX_BYTES
        assert cut.endswith(name[-3:])


@given(st.text(max_size=300))
def test_no_text_is_an_unsafe_name(name: str) -> None:
    made = safe_name(name)
    assert made
    assert made not in (".", "..")
    assert len(made.encode()) <= MAX_BYTES + 1
    assert not set(made) & set('/\\:*?"<>|\0\n\r')
    assert made[0] not in ".~ -"
    assert made[-1] not in ". "
    assert safe_name(made) == made


def test_paths_that_differ_only_in_capitals_do_not_collide() -> None:
    taken: set[str] = set()
    paths = [unique_path("role", name, taken) for name in ("A.md", "a.md", "a.MD", "a-2.md", "x")]
    assert paths == ["role/A.md", "role/a-2.md", "role/a-3.MD", "role/a-2-2.md", "role/x"]
    assert unique_path("Role", "X", taken) == "Role/X-2"
    assert unique_path("con.", "x", taken) == "_con./x".replace("_con.", safe_name("con."))
    assert len({path.casefold() for path in taken}) == len(taken)
