"""Build the OpenAPI document of the token API from the operations and models."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from authz import __version__
from authz.web.api.models import Error
from authz.web.api.operation import Operation

_PREFIX = "/api/v2"
_COMPONENTS = "#/components/schemas/{model}"
_PARAMETERS = {
    "user": "A UUID, a user name, or `me`.",
    "name": "A token's name.",
    "organization": "A UUID, or `default`.",
    "group": "A UUID, or a group's name below an organization.",
    "provider": "The name of a provider.",
    "budget": "A UUID.",
    "key": "A token's or session's id: the first 10 characters of its text.",
}
_SECURITY_SCHEMES = {
    "CoderSessionToken": {"type": "apiKey", "in": "header", "name": "Coder-Session-Token"},
    "Bearer": {"type": "http", "scheme": "bearer"},
    "Cookie": {"type": "apiKey", "in": "cookie", "name": "coder_session_token"},
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document as values that JSON can encode."""
    models: list[type[BaseModel]] = [Error]
    for operation in operations:
        models += [model for model in (operation.response, operation.body) if model]
    # The schemas describe input, in which fields with a default are optional.
    _, schemas = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=_COMPONENTS
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = paths.setdefault(f"{_PREFIX}{operation.path}", {})
        path[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Coder's token API on authz's own store",
            "version": __version__,
        },
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": _SECURITY_SCHEMES},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    responses = {str(operation.status): {"description": "Done.", **_success(operation)}}
    for status, meaning in operation.errors.items():
        responses[str(status)] = {"description": meaning, **_json(_ref(Error))}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{operation.method} {operation.path}").strip("_"),
        "responses": responses,
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": _PARAMETERS[name],
                "schema": {"type": "string", "minLength": 1},
            }
            for name in re.findall(r"{(\w+)}", operation.path)
        ]
        + [
            {"name": name, "in": "query", "schema": {"type": kind}}
            for name, kind in operation.query.items()
        ],
        "security": [] if operation.handler else [{name: []} for name in _SECURITY_SCHEMES],
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, **_json(_ref(operation.body))}
    return described


def _success(operation: Operation) -> dict[str, Any]:
    if operation.response is None:
        return {}
    schema = _ref(operation.response)
    if operation.is_list:
        schema = {"anyOf": [{"type": "array", "items": schema}, {"type": "null"}]}
    return _json(schema)


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _COMPONENTS.format(model=model.__name__)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}
