"""Reads which model a request asks for, from what Envoy's filters have read before the check.

Envoy's route says where the model is. Envoy refuses a body that it can't parse, or that has a key
twice; here everything else that is unclear becomes a problem, never a model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from urllib.parse import unquote

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from authz.check.ext_authz import CONTEXT_LIMIT, CONTEXT_MODEL, Check, read_field
from authz.core.declared import NO_MODEL, DeclaredRequest
from authz.core.providers import ModelPlace
from authz.core.request_apis import OutputLimit
from authz.pb import request_metadata_pb2 as pb

BODY_NAMESPACE = "envoy.ai.request_info"
"""The namespace of ``envoy.data.ai.v3.RequestInfo``."""
PATH_NAMESPACE = "authz.path_model"
PATH_KEY = "model"
"""The place of the model in the path, which Envoy's route cuts out of it."""
FIELDS_NAMESPACE = "authz.body"
"""The place of further fields of the body."""
_CONFIGS = ("generationConfig", "generation_config")
_LIMITS = (
    ("max_tokens",),
    ("max_completion_tokens",),
    *((config, key) for config in _CONFIGS for key in ("maxOutputTokens", "max_output_tokens")),
)
_CHOICES = (
    ("n",),
    ("best_of",),
    *((config, key) for config in _CONFIGS for key in ("candidateCount", "candidate_count")),
)
FIELDS = (*_LIMITS, *_CHOICES)
"""The fields with a limit of the response, and with the number of responses."""
ABSENT = "absent"
"""The value of a field that the body does not have."""

_REQUEST_INFO = "type.googleapis.com/envoy.data.ai.v3.RequestInfo"
_MODEL = re.compile(r"[\x21-\x7e]{1,256}")
_GOOGLES_PREFIX = "models/"
"""Google's APIs in OpenAI's format take a name with this prefix or without it."""
_JSON = re.compile(rb'application/(?:[a-z0-9.-]+\+)?json(?:\s*;\s*charset="?utf-?8"?)?\s*', re.I)

_CONTENT = re.compile(rb"content-(?:type|encoding)")

_ASK = "This gateway has to know the model of each request"
_NOT_JSON = (
    f"{_ASK}, and can't read this one. Send one JSON object with "
    "Content-Type: application/json and without Content-Encoding."
)
_NO_MODEL = (
    f'{_ASK}, and this one names none. Send a "model" of at most 256 visible ASCII characters.'
)
_UNREAD = DeclaredRequest(problem=_NOT_JSON)
_NO_PLACE = f"{_ASK}, and can't know which model answers on this path."
_NO_LIMIT = (
    "This gateway has to know how much a model may write. Send whole numbers as limits and as the "
    "number of responses."
)
_MAX_NUMBER = 1_000_000_000


def declared(check: Check) -> DeclaredRequest:
    """Return what a request declares.

    Raises:
        BadCheck: a header or the route's ``context_extensions`` can't be read.
    """
    context = check.context
    place, limit = context.get(CONTEXT_MODEL), context.get(CONTEXT_LIMIT)
    if place == ModelPlace.NONE:
        return NO_MODEL
    if place not in (ModelPlace.PATH, ModelPlace.BODY, ModelPlace.OPTIONAL):
        return DeclaredRequest(problem=_NO_PLACE)
    found = _read(check.metadata)
    if found is None:
        return _UNREAD
    if place == ModelPlace.PATH:
        named = _named(_in_path(found))
        if limit is None or named.problem:
            return named
        info = _info(check, found)
        return _UNREAD if info is None else _limited(found, info, limit, named)
    # Envoy has read every body that is not empty.
    if (info := _info(check, found)) is None:
        return NO_MODEL if place == ModelPlace.OPTIONAL and not _has_info(found) else _UNREAD
    if place == ModelPlace.OPTIONAL and not info.model:
        return NO_MODEL
    named = _named(info.model)
    return named if named.problem else _limited(found, info, limit, named)


def _in_path(found: pb.Metadata) -> str:
    """Return the model of the path; empty if it has none that is certain."""
    values = _values(found, PATH_NAMESPACE)
    if values is None or PATH_KEY not in values:
        return ""
    try:
        # A provider decodes the path once.
        model = unquote(values[PATH_KEY].string_value, errors="strict")
    except UnicodeDecodeError:
        return ""
    return "" if "/" in model or "%" in model else model


def _named(model: str) -> DeclaredRequest:
    model = model.removeprefix(_GOOGLES_PREFIX)
    return DeclaredRequest(model) if _MODEL.fullmatch(model) else DeclaredRequest(problem=_NO_MODEL)


def _limited(
    found: pb.Metadata, info: pb.RequestInfo, limit: str | None, named: DeclaredRequest
) -> DeclaredRequest:
    """Add the size of a request and the limit of its response."""
    most = info.max_output_tokens.value if info.HasField("max_output_tokens") else None
    if limit == OutputLimit.NONE:
        most = 0
    elif limit == OutputLimit.FIELDS:
        try:
            most = _most(_values(found, FIELDS_NAMESPACE) or {})
        except ValueError:
            return DeclaredRequest(problem=_NO_LIMIT)
    return replace(named, max_output_tokens=most, input_bytes=info.estimated_input_tokens.value)


def _most(fields: Mapping[str, Value]) -> int | None:
    """Return the most tokens of all responses; None without a limit.

    Raises:
        ValueError: a field is not a number, or Envoy has not read it.
    """
    limits = [number for keys in _LIMITS if (number := _number(fields, keys)) is not None]
    choices = [number for keys in _CHOICES if (number := _number(fields, keys)) is not None]
    return max(limits) * max([1, *choices]) if limits else None


def _number(fields: Mapping[str, Value], keys: Sequence[str]) -> int | None:
    value = fields.get(".".join(keys))
    if value is not None and value.string_value == ABSENT:
        return None
    if value is None or not value.HasField("number_value"):
        raise ValueError("not a number")
    number = value.number_value
    if not number.is_integer() or not 0 <= number <= _MAX_NUMBER:
        raise ValueError("not a whole number")
    return int(number)


def _values(found: pb.Metadata, namespace: str) -> Mapping[str, Value] | None:
    """Return the values of a namespace; None unless it is there once."""
    entries = [entry for entry in found.filter_metadata if entry.key == namespace]
    return entries[0].value.fields if len(entries) == 1 else None


def _has_info(found: pb.Metadata) -> bool:
    return any(entry.key == BODY_NAMESPACE for entry in found.typed_filter_metadata)


def _info(check: Check, found: pb.Metadata) -> pb.RequestInfo | None:
    """Return what Envoy has read of the body; None if that is not certain."""
    entries = [entry.value for entry in found.typed_filter_metadata if entry.key == BODY_NAMESPACE]
    if len(entries) != 1 or entries[0].type_url != _REQUEST_INFO or not _is_json(check):
        return None
    try:
        return pb.RequestInfo.FromString(entries[0].value)
    except DecodeError:
        return None


def _is_json(check: Check) -> bool:
    """Return whether the provider reads the body as Envoy has.

    A provider may decompress a body, or read it in another character set or format. Some bytes are
    valid in two of them, with another model in each.
    """
    matters = _CONTENT.search
    return _says_json(tuple([field for field in check.fields if matters(field)]))


@lru_cache(maxsize=256)
def _says_json(fields: tuple[bytes, ...]) -> bool:
    types = []
    for field in fields:
        name, value = read_field(field)
        if name == "content-encoding":
            return False
        if name == "content-type":
            types.append(value)
    return len(types) == 1 and _JSON.fullmatch(types[0]) is not None


def _read(metadata: bytes) -> pb.Metadata | None:
    try:
        return pb.Metadata.FromString(metadata)
    except DecodeError:
        return None
