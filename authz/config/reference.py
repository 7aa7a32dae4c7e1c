"""The configuration reference in Markdown, made from the JSON Schema of ``gateway.yaml``."""

import json
from typing import Any

from authz.config.schema import schema

_HEAD = """\
# Configuration reference

<!-- `make docs-reference` writes this page from the code of the settings. Do not edit it. -->

Every key of `gateway.yaml`, with its type and its default.
`authz init` writes a starter file, and `authz config check` checks a file
([configuration.md](configuration.md)).
[gateway.schema.json](gateway.schema.json) has the same content as JSON Schema for editors.

A duration is a number of seconds or text with a unit: `500ms`, `30s`, `5m`, `1h`.
Relative paths are relative to the working directory.
"""
_DURATION = "duration"
_LONG = 60
"""Longer defaults do not fit into a table."""


def reference_text() -> str:
    """Return the page: one table for each section, in the order of the settings."""
    document = schema()
    lines = [_HEAD, "## Top level", "", *_table(document)]
    for name, places in _places(document).items():
        section = document["$defs"][name]
        lines += ["", f"## {', '.join(f'`{place}`' for place in places)}", ""]
        lines += [section["description"], "", *_table(section)]
    return "\n".join(lines) + "\n"


def _places(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return the paths at which each section may appear, by its name in the schema."""
    found: dict[str, list[str]] = {}

    def visit(section: dict[str, Any], path: str) -> None:
        for key, node in section["properties"].items():
            for name, suffix in _references(node):
                place = f"{path}{key}{suffix}"
                found.setdefault(name, []).append(place)
                visit(document["$defs"][name], f"{place}.")

    visit(document, "")
    return found


def _references(node: dict[str, Any], suffix: str = "") -> list[tuple[str, str]]:
    """Return the sections that a value may be, each with ``[]`` where it is in a list."""
    if "$ref" in node:
        return [(node["$ref"].rpartition("/")[2], suffix)]
    if "items" in node:
        return _references(node["items"], "[]")
    parts = node.get("anyOf", node.get("oneOf", ()))
    return [one for part in parts for one in _references(part, suffix)]


def _table(section: dict[str, Any]) -> list[str]:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    required = section.get("required", ())
    for key, node in section["properties"].items():
        default = "required" if key in required else _default(node)
        rows.append(f"| `{key}` | {_type(node)} | {default} | {_cell(node['description'])} |")
    return rows


def _default(node: dict[str, Any]) -> str:
    value = node.get("default")
    if value in (None, [], {}) or isinstance(value, dict):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _LONG:
        return "see `authz init`"
    return f"`{value if isinstance(value, str) else text}`"


def _type(node: dict[str, Any]) -> str:
    """Return the type of a value in words."""
    if "anyOf" in node:
        parts = [part for part in node["anyOf"] if part.get("type") != "null"]
        if any("examples" in part and part["examples"] == ["5m"] for part in parts):
            return _DURATION
        return " or ".join(map(_type, parts))
    if "$ref" in node or "oneOf" in node:
        return "section"
    if "enum" in node:
        return "one of " + ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    match node.get("type"):
        case "array":
            return f"list: {_type(node['items'])}"
        case "object":
            return "mapping"
        case "boolean":
            return "`true` or `false`"
        case "integer" | "number" as kind:
            return f"{'whole number' if kind == 'integer' else 'number'}{_range(node)}"
    if node.get("format") == "path":
        return "path"
    examples = node.get("examples", ())
    return "text" + (f", such as {_joined(examples)}" if examples else "")


def _range(node: dict[str, Any]) -> str:
    low = node.get("minimum", node.get("exclusiveMinimum"))
    above = "above " if "exclusiveMinimum" in node else ""
    return f", {above}{low} to {node['maximum']}" if "maximum" in node else ""


def _joined(values: list[Any]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
