"""Which language a file is written in, by its name."""

from __future__ import annotations

from pathlib import PurePosixPath

_BY_SUFFIX = {
    suffix: language
    for language, suffixes in {
        "Assembly": "asm s", "C": "c h", "C#": "cs", "C++": "cc cpp cxx hh hpp hxx",
        "CSS": "css less sass scss", "Clojure": "clj cljs", "Dart": "dart", "Elixir": "ex exs",
        "Erlang": "erl hrl", "F#": "fs", "Fortran": "f f90 f95 for", "Go": "go",
        "Groovy": "gradle groovy", "HTML": "htm html", "Haskell": "hs", "JSON": "json jsonl",
        "Java": "java", "JavaScript": "cjs js jsx mjs", "Julia": "jl", "Kotlin": "kt kts",
        "Lua": "lua", "Markdown": "markdown md", "Nix": "nix", "OCaml": "ml mli",
        "Objective-C": "m mm", "PHP": "php", "Perl": "pl pm", "PowerShell": "ps1",
        "Protocol Buffers": "proto", "Python": "py pyi", "R": "r", "Ruby": "rb", "Rust": "rs",
        "SQL": "sql", "Scala": "scala", "Shell": "bash sh zsh", "Solidity": "sol",
        "Svelte": "svelte", "Swift": "swift", "TOML": "toml", "Terraform": "tf",
        "Text": "rst txt", "TypeScript": "cts mts ts tsx", "Vue": "vue", "XML": "xml xsd xsl",
        "YAML": "yaml yml", "Zig": "zig",
    }.items()
    for suffix in suffixes.split()
}  # fmt: skip
_BY_NAME = {"Makefile": "Makefile", "Dockerfile": "Dockerfile", "CMakeLists.txt": "CMake"}


def language_of(name: str) -> str:
    """The language, ``Other`` when the name does not tell."""
    path = PurePosixPath(name)
    return _BY_NAME.get(path.name) or _BY_SUFFIX.get(path.suffix[1:].lower(), "Other")
