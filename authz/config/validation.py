"""Validation that reports all problems of a configuration at once.

pydantic applies the rules of a section only if all values in it are valid. After an error, this
module therefore applies the rules to the valid values. Invalid values are missing from their
section, and a rule that reads one is skipped.
"""

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError, create_model

from authz.config.fields import Section, Tls
from authz.config.file import Location, location_of, shown
from authz.config.key_reference import KeyReference
from authz.config.settings import Config
from authz.config.workload import PROVIDERS_OF_WORKLOAD

Problem = tuple[Location, str]
"""The location of a problem, and its description."""

_INDIVISIBLE = (Tls, KeyReference)
"""Sections that can't be used in part."""
_PLAIN = {
    "missing": "is required",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "path_type": "must be a path",
    "float_type": "must be a number",
    "too_short": "must not be empty",
    "union_tag_not_found": f"needs type: one of {', '.join(PROVIDERS_OF_WORKLOAD)}",
    "union_tag_invalid": f"type must be one of {', '.join(PROVIDERS_OF_WORKLOAD)}",
}
_UNITS = {"days": "days", "mib": "MiB"}


def validated(values: dict[str, Any]) -> tuple[Config, list[Problem]]:
    """Validate the values of a file.

    Returns:
        The configuration and its problems. Invalid values are missing from the configuration:
        reading one raises AttributeError.
    """
    try:
        return Config.model_validate(values), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    problems = [_problem(detail) for detail in details if not _follows(detail, details)]
    config = _partial(Config, values, (), {detail["loc"] for detail in details}, problems)
    return config, list(dict.fromkeys(problems))


def known(section: Section, *names: str) -> bool:
    """Return whether a section has valid values under all of these names."""
    return all(name in vars(section) for name in names)


def _partial(
    kind: Any, values: dict[str, Any], at: Location, wrong: set[Location], problems: list[Problem]
) -> Any:
    """Return a section with the valid values, and apply its rules to them."""
    fields = kind.model_fields
    good: Any = {
        name: (field.annotation, field)
        for name, field in fields.items()
        if name in values and not _is_wrong((*at, name), wrong)
    }
    checked = create_model(kind.__name__, __config__=kind.model_config, **good).model_validate(
        {name: values[name] for name in good}
    )
    found = {name: getattr(checked, name) for name in good}
    for name in values.keys() & (fields.keys() - good.keys()):
        inner = _partial_value(fields[name].annotation, values[name], (*at, name), wrong, problems)
        if inner is not None:
            found[name] = inner
    section = kind.model_construct(**found)
    for name in values.keys() & (fields.keys() - found.keys()):
        section.__dict__.pop(name, None)
    for rule in kind.__pydantic_decorators__.model_validators:
        try:
            getattr(section, rule)()
        except AttributeError:
            pass  # the rule reads an invalid value
        except ValueError as error:
            problems.append(_of_rule(kind, at, str(error)))
    return section


def _partial_value(
    annotation: Any, value: Any, at: Location, wrong: set[Location], problems: list[Problem]
) -> Any:
    """Return the valid part of a section or list of sections; None for other values."""
    kind, is_list = _section_of(annotation)
    if kind is None:
        return None
    if not is_list:
        if not isinstance(value, dict) or _is_unusable(kind, at, wrong):
            return None
        return _partial(kind, value, at, wrong, problems)
    if not isinstance(value, list):
        return None
    items = []
    for index, item in enumerate(value):
        place = (*at, index)
        if not _is_wrong(place, wrong):
            items.append(kind.model_validate(item))
        elif isinstance(item, dict) and not _is_unusable(kind, place, wrong):
            items.append(_partial(kind, item, place, wrong, problems))
        elif not issubclass(kind, _INDIVISIBLE):
            # An empty section, so that the next ones keep their index.
            empty = kind.model_construct()
            empty.__dict__.clear()
            items.append(empty)
    return tuple(items)


def _is_unusable(kind: Any, at: Location, wrong: set[Location]) -> bool:
    """Return whether a section can't be used in part; of a workload no part is of use."""
    if issubclass(kind, KeyReference) and _is_wrong((*at, "workload"), wrong):
        return True
    return issubclass(kind, _INDIVISIBLE) and at in wrong


def _follows(detail: Any, details: list[Any]) -> bool:
    """Return whether a list is too short only because items in it are invalid."""
    at = detail["loc"]
    return detail["type"] == "too_short" and any(
        one["loc"][: len(at)] == at != one["loc"] for one in details
    )


def _is_wrong(at: Location, wrong: set[Location]) -> bool:
    return any(one[: len(at)] == at for one in wrong)


def _section_of(annotation: Any) -> tuple[Any, bool]:
    """Return the section type of a field, and whether the field is a list of sections."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _section_of(arguments[0])
    is_list = get_origin(annotation) is tuple
    if is_list or get_origin(annotation) is Union or type(None) in arguments:
        for argument in arguments:
            kind, inner_is_list = _section_of(argument)
            if kind is not None:
                return kind, is_list or inner_is_list
    return None, False


def _of_rule(kind: Any, at: Location, message: str) -> Problem:
    """Return a problem whose location includes the key that the message begins with."""
    location = location_of(message)
    if not location or location[0] not in kind.model_fields:
        return at, message
    return (*at, *location), message.partition(": ")[2]


def _without_types(at: Location) -> Location:
    """Return the location in the file of a value in a section that has several types."""
    return tuple(
        one
        for index, one in enumerate(at)
        if not (index and at[index - 1] == "workload" and one in PROVIDERS_OF_WORKLOAD)
    )


def _problem(detail: Any) -> Problem:
    at = _without_types(detail["loc"])
    error = detail["type"]
    context = detail.get("ctx", {})
    kind = _kind_at(at)
    if error == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        return (at, message) if kind is None else _of_rule(kind, at, message)
    if error == "extra_forbidden":
        return at, f"unknown key{_meant(at)}"
    if error in ("model_type", "model_attributes_type"):
        return at, _no_mapping(kind)
    if error in ("int_type", "int_from_float"):
        unit = _UNITS.get(str(at[-1]).rpartition("_")[2])
        return at, f"must be a whole number of {unit}" if unit else "must be a whole number"
    if error == "literal_error":
        return at, f"must be one of {context['expected']}"
    for limit, words in (("ge", "at least"), ("le", "at most"), ("gt", "more than")):
        if limit in context and error.startswith(("greater", "less")):
            return at, f"must be {words} {context[limit]}"
    return at, _PLAIN.get(error, detail["msg"])


def _no_mapping(kind: Any) -> str:
    if kind is KeyReference:
        return (
            "use {env: NAME}, {file: PATH}, {exec: [COMMAND, …]} or {workload: {type: …}}; never"
            " write the key itself here"
        )
    if kind is None:
        return _PLAIN["dict_type"]
    if issubclass(kind, Tls):
        required = ", ".join(f"{n}: PATH" for n, f in kind.model_fields.items() if f.is_required())
        return f"use {{{required}}}"
    names = list(kind.model_fields)
    return f"{_PLAIN['dict_type']}: {', '.join(names[:4])}{', …' if names[4:] else ''}"


def _kind_at(at: Location) -> Any:
    """Return the section type at a location; None if the value there is not a section."""
    kind: Any = Config
    in_list = False
    for step in at:
        if isinstance(step, int):
            if not in_list:
                return None
            in_list = False
            continue
        if kind is None or in_list or step not in kind.model_fields:
            return None
        kind, in_list = _section_of(kind.model_fields[step].annotation)
    return None if in_list else kind


def _meant(at: Location) -> str:
    """Return a suggestion for an unknown key, or an empty text."""
    name, kind = str(at[-1]), _kind_at(at[:-1])
    if kind is None or shown(name) != name:
        return ""
    wanted = name.lower().replace("-", "_")
    close = difflib.get_close_matches(wanted, kind.model_fields, n=1)
    if close:
        return f": did you mean {close[0]}?"
    elsewhere = [path for path in _all_paths(Config) if path.rpartition(".")[2] == wanted]
    return f": did you mean {' or '.join(elsewhere[:2])}?" if elsewhere else ""


def _all_paths(kind: Any, prefix: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        inner, is_list = _section_of(field.annotation)
        if inner is not None:
            yield from _all_paths(inner, f"{prefix}{name}{'[]' if is_list else ''}.")
