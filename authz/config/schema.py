"""The JSON Schema of ``gateway.yaml``, made from the settings and their docstrings."""

import inspect
import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from authz.addresses import BaseUrl, TcpAddress, UnixAddress
from authz.config.settings import Config

_ATTRIBUTE = re.compile(r"^    (\w+):[ \n](.*(?:\n {8}.*)*)", re.MULTILINE)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LIMITS = {"ge": "minimum", "le": "maximum"}
_PLACES_OF_KEYS = (("env", "string"), ("file", "string"), ("exec", "array"), ("workload", "object"))
_RULES: dict[str, dict[str, Any]] = {
    "KeyReference": {
        "oneOf": [
            {"required": [name], "properties": {name: {"type": kind}}}
            for name, kind in _PLACES_OF_KEYS
        ]
    },
    "ExternalRoute": {
        "oneOf": [
            {"required": [name], "properties": {name: {"type": "string"}}}
            for name in ("httproute", "host")
        ]
    },
    "Provider": {
        "not": {
            "required": ["key", "keys"],
            "properties": {"key": {"not": {"type": "null"}}, "keys": {"minItems": 1}},
        }
    },
}
"""Rules between the keys of a section that a schema can express; the validators know the rest."""


class _Generator(GenerateJsonSchema):
    """pydantic's generator, with defaults as they are written in the file."""

    def encode_default(self, dft: Any) -> Any:
        """Return a default as JSON."""
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", exclude_none=True)
        if isinstance(dft, tuple):
            return [self.encode_default(one) for one in dft]
        if isinstance(dft, TcpAddress | UnixAddress | BaseUrl):
            return str(dft)
        return to_jsonable_python(dft)


def schema_text() -> str:
    """Return the schema as JSON, indented, with a newline at the end."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema that an editor or a check in CI applies to ``gateway.yaml``.

    It knows keys, types, ranges and patterns. What depends on files or on several keys is left to
    ``authz config check``.
    """
    generated = Config.model_json_schema(schema_generator=_Generator)
    definitions: dict[str, Any] = generated.pop("$defs")
    for model in _models(Config):
        target = generated if model is Config else definitions[model.__name__]
        _describe(target, model)
        target.update(_RULES.get(model.__name__, {}))
    document = {
        "$schema": _DIALECT,
        "title": "gateway.yaml",
        **generated,
        "$defs": dict(sorted(definitions.items())),
    }
    simplified: dict[str, Any] = _simplified(document)
    return simplified


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the text of each field from the docstrings of the section and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base.__doc__:
            _, _, attributes = inspect.cleandoc(base.__doc__).partition("Attributes:\n")
            found |= {name: _one_line(text) for name, text in _ATTRIBUTE.findall(attributes)}
    return found


def summary(model: type[BaseModel]) -> str:
    """Return the text of a section: its docstring without the attributes."""
    return _one_line(inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")[0])


def _one_line(text: str) -> str:
    """Return a docstring's text in one line, with Markdown's code marks."""
    line = " ".join(text.split()).replace("``", "`")
    return line[:1].upper() + line[1:]


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a section and all sections in it, each once, in the order of the fields."""
    found = [model]
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            found += [one for one in _models(inner) if one not in found]
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for part in getattr(annotation, "__args__", ()) for one in _models_in(part)]


def _describe(target: dict[str, Any], model: type[BaseModel]) -> None:
    target["description"] = summary(model)
    texts = descriptions(model)
    for name, value in target["properties"].items():
        if name in texts:
            value["description"] = texts[name]


def _simplified(node: Any, *, names: bool = False) -> Any:
    """Return a schema without pydantic's titles, and with the limits of JSON Schema.

    Args:
        names: the keys of the mapping are names of settings or definitions, not keywords.
    """
    if isinstance(node, list):
        return [_simplified(one) for one in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _simplified(value) for key, value in node.items()}
    if "patternProperties" in node:
        # pydantic leaves this out, so that a key of another form would pass.
        node = {**node, "additionalProperties": False}
    return {
        _LIMITS.get(key, key): value
        if key == "default"
        else _simplified(value, names=key in ("properties", "$defs"))
        for key, value in node.items()
        if key != "title" or value == "gateway.yaml"
    }
