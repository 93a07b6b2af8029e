"""The documentation as one page of HTML: no script, no font, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from api.openapi import EMPTY

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --link: #0b62c4; }
@media (prefers-color-scheme: dark) { :root { --link: #6fb1ff; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1.5rem; }
a { color: var(--link); }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin: 2rem 0 .3rem; font-size: 1.05rem; }
code { font: .9em ui-monospace, monospace; background: var(--soft); padding: .1em .3em; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left;
  vertical-align: top; }
th { font-size: .8rem; font-weight: 600; }
.method { display: inline-block; min-width: 4.2rem; font-weight: 700; }
.soft { opacity: .75; }
nav ul { columns: 2; padding-left: 1.2rem; }
nav li { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  nav ul { columns: 1; }
  table { display: block; overflow-x: auto; }
}
"""

POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Only this one style, and nothing else."""


def render(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    body = "".join(
        [
            f"<h1>{escape(info['title'])} <span class=soft>{escape(info['version'])}</span></h1>",
            f"<p>{_text(info['description'])}</p>",
            "<p>For programs: <a href=openapi.json>openapi.json</a>.</p>",
            _navigation(document),
            *_groups(document),
            "<h2 id=models>Models</h2>",
            *(_model(name, m) for name, m in document["components"]["schemas"].items()),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: API</title><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _operations(document: dict[str, Any], tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, table in document["paths"].items():
        for method, operation in table.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _navigation(document: dict[str, Any]) -> str:
    entries = [
        f"<li><a href=#{operation['operationId']}>{method} {escape(path)}</a></li>"
        for tag in document["tags"]
        for method, path, operation in _operations(document, tag["name"])
    ]
    return f"<nav><ul>{''.join(entries)}<li><a href=#models>Models</a></li></ul></nav>"


def _groups(document: dict[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>"
        for method, path, operation in _operations(document, tag["name"]):
            yield _operation(method, path, operation)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    scopes = [scope for need in operation["security"] for scope in need.get("token", ())]
    needs = f"Needs <code>{escape(scopes[0])}</code>." if scopes else "Open to everybody."
    parts = [
        f"<h3 id={operation['operationId']}>",
        f"<span class=method>{method}</span> <code>{escape(path)}</code></h3>",
        f"<p>{_text(operation['summary'])}. {needs} {_text(operation.get('description', ''))}</p>",
    ]
    parameters = [
        (f"<code>{escape(p['name'])}</code> <span class=soft>{p['in']}</span>",
         _kind(p["schema"]), _text(p.get("description", "")))
        for p in operation["parameters"]
    ]  # fmt: skip
    if parameters:
        parts.append(_table(("parameter", "type", ""), parameters))
    if "requestBody" in operation:
        [content] = operation["requestBody"]["content"].values()
        parts.append(f"<p>Body: {_kind(content['schema'])}</p>")
    answers = [
        (f"<code>{status}</code>", _content(answer), _text(answer["description"]))
        for status, answer in operation["responses"].items()
    ]
    return "".join([*parts, _table(("answer", "type", ""), answers)])


def _content(answer: dict[str, Any]) -> str:
    return " ".join(
        _kind(content["schema"]) if "schema" in content else f"<code>{escape(media_type)}</code>"
        for media_type, content in answer.get("content", {}).items()
    )


def _model(name: str, schema: dict[str, Any]) -> str:
    head = f"<h3 id=model-{name}>{escape(name)}</h3><p>{_text(schema.get('description', ''))}</p>"
    if "properties" not in schema:
        return head + f"<p>{_kind({k: v for k, v in schema.items() if k != 'description'})}</p>"
    required = schema.get("required", ())
    rows = [
        (f"<code>{escape(field)}</code>{'' if field in required else '?'}", _kind(of),
         _text(of.get("description", "")))
        for field, of in schema["properties"].items()
    ]  # fmt: skip
    return head + _table(("field", "type", ""), rows)


def _kind(schema: dict[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href=#model-{name}>{name}</a>"
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(_kind(kind) for kind in schema[word] if kind != EMPTY)
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"[{_kind(schema.get('items', {}))} …]"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{{key: {_kind(schema['additionalProperties'])}}}"
    return escape(str(schema.get("format") or schema.get("type", "any")))


def _text(text: str) -> str:
    """A sentence; what stands in backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"
