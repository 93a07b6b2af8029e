"""The OpenAPI document, made from the table of routes and what is written about its handlers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import answers, errors
from api.endpoint import Handler, Rule
from api.operations import Answer, Operation, Parameter
from api.problems import problem_for
from orchestrator.errors import InvalidRequest, StorageError, TaskNotFound
from orchestrator.events import EVENT

REF = "#/components/schemas/{model}"
_PARTS: Mapping[str, Mapping[str, Any]] = {
    "task_id": {"type": "string", "minLength": 1},
    "role": {"type": "string", "minLength": 1},
    "name": {"type": "string", "minLength": 1},
}
_OF_BODY = (
    errors.InvalidJson, errors.BadFraming, errors.PayloadTooLarge, errors.UnsupportedMediaType,
    errors.RequestTimeout, InvalidRequest,
)  # fmt: skip
EMPTY: Mapping[str, Any] = {"type": "string", "maxLength": 0}
_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
_TICKET = {
    "type": "apiKey", "in": "query", "name": "ticket",
    "description": "From `POST /api/stream-tickets`; opens one stream.",
}  # fmt: skip


def make_document(
    routes: Mapping[str, Mapping[str, Rule]],
    operations: Mapping[Handler, Operation],
    *,
    version: str,
) -> dict[str, Any]:
    """Make the document.

    Args:
        routes: Path → method → rule. Routes whose handlers have no operation are left out: the
            page's own.
        operations: Handler → operation.
        version: Of the program.
    """
    described = [operations[r.handler] for table in routes.values() for r in table.values()
                 if r.handler in operations]  # fmt: skip
    paths = {
        path: {
            method.lower(): _operation(method, path, rule, operations[rule.handler])
            for method, rule in table.items()
            if rule.handler in operations
        }
        for path, table in routes.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Poststream",
            "version": version,
            "description": "Runs teams of agents and streams what they do: the response of the "
            "POST is the stream.",
        },
        "tags": [{"name": name} for name in dict.fromkeys(o.tag for o in operations.values())],
        "paths": {path: table for path, table in paths.items() if table},
        "components": {
            "schemas": _schemas(described),
            "securitySchemes": {"token": _BEARER, "ticket": _TICKET},
        },
    }


def _operation(method: str, path: str, rule: Rule, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _id(method, path),
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [*_path_parameters(path), *_parameters(operation)],
        "responses": _responses(path, rule, operation),
        "security": _security(rule),
    }
    if operation.deprecated:
        found["deprecated"] = True
    if operation.description:
        found["description"] = operation.description
    if operation.body is not None:
        content = {"application/json": {"schema": _ref(operation.body)}}
        found["requestBody"] = {"required": operation.body_required, "content": content}
    return found


def _security(rule: Rule) -> list[dict[str, list[str]]]:
    if rule.scope is None:
        return []
    needs: list[dict[str, list[str]]] = [{"token": [rule.scope]}]
    if rule.ticket:
        needs.append({"ticket": []})
    return needs


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": dict(_PARTS[name])}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "in": parameter.place,
            "required": False,
            "description": parameter.description,
            "schema": _or_empty(parameter) if parameter.place == "query" else parameter.schema,
        }
        for parameter in operation.parameters
    ]


def _or_empty(parameter: Parameter) -> Mapping[str, Any]:
    """A query parameter that is empty counts as absent."""
    return {"anyOf": [parameter.schema, EMPTY]}


def _responses(path: str, rule: Rule, operation: Operation) -> dict[str, Any]:
    found = {str(answer.status): _answer(answer) for answer in operation.answers}
    slugs: dict[int, list[str]] = {}
    for error in _problems(path, rule, operation):
        problem = problem_for(error)
        if problem.slug not in slugs.setdefault(problem.status, []):
            slugs[problem.status].append(problem.slug)
    for status, names in sorted(slugs.items()):
        if str(status) not in found:
            found[str(status)] = {
                "description": ", ".join(f"`{name}`" for name in names),
                "content": {"application/problem+json": {"schema": _ref(answers.ProblemDocument)}},
            }
    return found


def _problems(path: str, rule: Rule, operation: Operation) -> Iterable[type[BaseException]]:
    """Everything that can go wrong: what is written, and what follows from the route."""
    yield errors.BadFraming
    yield from operation.problems
    if rule.scope is not None:
        yield from (errors.Unauthorized, errors.Forbidden, StorageError)
    if operation.body is not None:
        yield from _OF_BODY
    if "{" in path:
        yield TaskNotFound


def _answer(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.description}
    if answer.model is not None:
        found["content"] = {answer.media_type: {"schema": _ref(answer.model)}}
    elif answer.media_type:
        found["content"] = {answer.media_type: {}}
    if answer.headers:
        found["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in answer.headers.items()
        }
    return found


def _id(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", path.replace("_", " "))
    return method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    """Every model that is named, with those within it, and the events of a stream."""
    taken = {o.body: None for o in operations if o.body is not None}
    given = {a.model: None for o in operations for a in o.answers if a.model is not None}
    given[answers.ProblemDocument] = None
    _, asked = models_json_schema([(m, "validation") for m in taken], ref_template=REF)
    _, told = models_json_schema([(m, "validation") for m in given], ref_template=REF)
    events = EVENT.json_schema(ref_template=REF)
    within = events.pop("$defs")
    told["$defs"] |= within | {"Event": {"description": "An event of a task.", **events}}
    found = {name: _with_null(_tidied(schema)) for name, schema in asked.get("$defs", {}).items()}
    found |= {name: _without_null(_tidied(schema)) for name, schema in told["$defs"].items()}
    return dict(sorted(found.items()))


def _tidied(schema: Any) -> Any:
    """A schema without what says nothing: names of fields as titles, null as the default."""
    if isinstance(schema, list):
        return [_tidied(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _tidied(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str)) and (name, value) != ("default", None)
    }


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of a body, in which null is an absent value."""
    required = schema.get("required", ())
    fields = {
        name: field
        if name in required or {"type": "null"} in field.get("anyOf", ())
        else {"anyOf": [field, {"type": "null"}]}
        for name, field in schema.get("properties", {}).items()
    }
    return {**schema, "properties": fields} if fields else schema


def _without_null(schema: Any) -> Any:
    """A schema in which an absent value is left out, never null."""
    if isinstance(schema, list):
        return [_without_null(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _without_null(value) for name, value in schema.items()}
    kinds = [kind for kind in found.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del found["anyOf"]
        found |= kinds[0]
    elif kinds:
        found["anyOf"] = kinds
    return found
