"""The OpenAPI 3.1 document and the page ``/docs``, both generated from the operations."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from db.api.documents import HealthDocument
from db.api.endpoints import batch
from db.api.http.problems import MEDIA_TYPE, Problem
from db.api.operations import FORM, IMAGE, JSON, OPERATIONS, Given, Operation

_REF = "#/components/schemas/{model}"
_BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}
_IDS = [
    {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    for name in ("image_id", "account_id")
]
_REQUEST_ID = {"description": "The log of the API shows the same id.", "schema": {"type": "string"}}

Schemas = Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of every operation."""
    schemas, definitions = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    paths["/healthz"] = {"get": _health(schemas)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Unmask",
            "version": version("unmask"),
            "description": "Finds AI-generated faces among profile photos. A photo without a verdict may be "
            "AI-generated: decide for yourself whether to accept it.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "unmask key add NAME --scope submit,read"}
            },
        },
        "security": [{"key": []}],
    }


def docs_page() -> str:
    """The page that lists the operations. It has no scripts and loads nothing from other hosts."""
    rows = "".join(_row(operation) for operation in OPERATIONS)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Unmask: HTTP</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td,th{{text-align:left;padding:.4rem .8rem .4rem 0;vertical-align:top}}pre{{background:#eee;padding:1rem}}</style>
</head><body><h1>Unmask: HTTP</h1>
<p>Each request needs a key: <code>Authorization: Bearer unmask_...</code>
(<code>unmask key add NAME --scope submit,read</code>). The OpenAPI document is at
<a href="/openapi.json">/openapi.json</a>.</p>
<pre>curl -H "Authorization: Bearer $KEY" -H "Prefer: wait=10" \\
     -F account_id=a-17 -F photo=@face.jpg http://127.0.0.1:8080/v1/images</pre>
<p>A photo without a score has no verdict. That does not mean that it is real.</p>
<table><tr><th>Operation</th><th>Scopes</th><th></th></tr>{rows}</table></body></html>
"""


def _row(operation: Operation) -> str:
    scopes = escape(", ".join(operation.scopes))
    name = f"{operation.method} {escape(operation.path)}"
    return f"<tr><td><code>{name}</code></td><td>{scopes}</td><td>{escape(operation.summary)}</td></tr>"


def _models() -> Iterable[tuple[type[BaseModel], JsonSchemaMode]]:
    for operation in OPERATIONS:
        yield from ((model, "validation") for model in operation.takes.values())
        yield from ((given.model, "serialization") for given in operation.gives.values() if given.model is not None)
    yield from ((Problem, "serialization"), (HealthDocument, "serialization"))


def _schemas() -> tuple[Schemas, dict[str, Any]]:
    found, definitions = models_json_schema(list(dict.fromkeys(_models())), ref_template=_REF)
    return found, definitions.get("$defs", {})


def _ids(operation: Operation) -> Iterator[dict[str, Any]]:
    """The parameters in the operation's path."""
    return (each for each in _IDS if f"{{{each['name']}}}" in operation.path)


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    answers = {str(status): _given(given, schemas) for status, given in operation.gives.items()}
    answers |= {str(status): _problem(status, schemas) for status in operation.refusals}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.handler.__module__.rpartition(".")[2] + "_" + operation.handler.__name__,
        "description": f"Scopes of the key: {', '.join(operation.scopes)}.",
        "parameters": [
            *(each for each in _IDS if f"{{{each['name']}}}" in operation.path),
            *operation.parameters,
            *_query(operation),
        ],
        "responses": answers,
    }
    if operation.takes:
        content = {kind: {"schema": _body(kind, model, schemas)} for kind, model in operation.takes.items()}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _query(operation: Operation) -> list[dict[str, Any]]:
    """The query parameters that carry the fields when the body is the photo alone."""
    model = operation.takes.get(IMAGE)
    fields = model.model_json_schema()["properties"] if model is not None else {}
    return [
        {"name": name, "in": "query", "description": f"With a body of {IMAGE}: see the form's field.", "schema": schema}
        for name, schema in fields.items()
    ]


def _body(kind: str, model: type[BaseModel], schemas: Schemas) -> dict[str, Any]:
    if kind == IMAGE:
        return _BINARY
    if kind == batch.MEDIA_TYPE:
        return {"type": "string", "description": "A PhotoByUrl as JSON on each line."}
    if kind == FORM:
        photo = {"type": "object", "properties": {"photo": _BINARY}, "required": ["photo"]}
        fields = model.model_json_schema()
        return photo | {
            "properties": photo["properties"] | fields["properties"],
            "required": ["photo", *fields["required"]],
            "additionalProperties": False,
        }
    return schemas[model, "validation"]


def _given(given: Given, schemas: Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": given.description, "headers": {"X-Request-Id": _REQUEST_ID}}
    if given.model is not None:
        schema = schemas[given.model, "serialization"] if given.media_type == JSON else {"type": "string"}
        answer["content"] = {given.media_type: {"schema": schema}}
    return answer


def _problem(status: int, schemas: Schemas) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": schemas[Problem, "serialization"]}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _health(schemas: Schemas) -> dict[str, Any]:
    well = Given("The API and its database answer.", HealthDocument)
    return {
        "summary": "Whether the API and its database answer.",
        "operationId": "health",
        "security": [],
        "responses": {"200": _given(well, schemas), "503": _problem(503, schemas), "500": _problem(500, schemas)},
    }
