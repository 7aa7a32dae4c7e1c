"""Reads and writes Envoy's ``Check`` messages, as bytes.

A bare ``CheckResponse()`` means allow, and so does every other with status 0. Therefore only three
functions build a response: ``allow``, ``deny`` and ``unavailable``. They return a
``FinishedResponse``. A ``ResponseFragment`` extends one and is never sent alone.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import NewType

from google.protobuf.message import DecodeError

from authz.check.responses import HttpResponse
from authz.core.decision_types import Allow, RouteKind
from authz.core.header_names import CREDENTIAL_HEADERS
from authz.metrics import RETRIED_STATUSES
from authz.pb import ext_authz_pb2 as pb

METHOD = "/envoy.service.auth.v3.Authorization/Check"
METADATA_NAMESPACE = "envoy.filters.http.ext_authz"
"""Envoy stores the metadata of a response under this name; the access log reads it there."""

TOKEN_END_HEADER = "x-coder-ai-gateway-token-expires"  # noqa: S105 - a name
"""The response header that tells the end of a token, as RFC 3339 in UTC."""
TELLS_BEFORE = timedelta(days=1)
"""The time before the end of a token in which answers have this header."""

METADATA_ENTRY = "entry"
"""The id of a request in the logs (``check/entry_ids.py``)."""
METADATA_NAMELESS = "nameless_token"
"""The id of a token without a known user; absent where the user is known."""
METADATA_GROUPS = "groups"
"""The names of the user's groups; absent where there are none."""
METADATA_FACTS = "facts"
"""The facts about a request, as one text (``check/metadata.py``): Envoy sends it back with the
record of the request, and one field costs Envoy less than eight."""
METADATA_PROJECT, METADATA_SESSION = "project", "session"
"""The names of ``authz.check.tags``; absent where there are none."""
METADATA_KEY_INDEX = "key_index"
"""The chosen key's place in the pool; Envoy's access log stream returns it to authz."""

METADATA_RETRIES = "retries"
"""The number of further tries after a refusal of the provider; absent for none."""
METADATA_RETRY_STATUSES = "retry_statuses"
"""The HTTP statuses that are refusals, joined by commas; absent where there are no retries."""
METADATA_FURTHER_KEYS = "further_keys"
"""The credentials of those tries: the name of their header, then for each the provider, the place
in its pool, the masked key, and the header's value. No log, record or trace has this field."""
METADATA_FIRST_PROVIDER = "first_provider"
"""The fallback provider with which a request begins; absent where it begins with its own."""
METADATA_FALLBACK_FACTS = "fallback_facts"
"""The names of fallback providers, each followed by what takes the place of ``METADATA_FACTS``."""

CONTEXT_PROVIDER = "provider"
CONTEXT_BASE_URL = "base_url"
CONTEXT_SUPPORTED = "supported"
CONTEXT_CENTRAL_KEY = "central_key"
CONTEXT_KEYLESS = "keyless"
CONTEXT_KIND = "kind"
CONTEXT_MODEL = "model"
CONTEXT_LIMIT = "limit"
CONTEXT_RETRIES = "retries"
CONTEXT_FALLBACKS = "fallbacks"
"""Keys of a route's ``context_extensions``; ``authz envoy render`` writes them."""

CONTEXT_JOINED = "joined"
CONTEXT_REMOVED = "removed"
CONTEXT_WEBSOCKET = "websocket"
CONTEXT_ACTOR = "actor"
"""Further keys, which ``authz.external`` states for an Envoy that does not know them."""
WEBSOCKET_REFUSED = "refused"
"""The value of ``websocket`` for a WebSocket on a path that has none."""

SUPPORTED_OWN = "own"
"""The value of ``supported`` for a path that needs the user's own credential."""
KIND_CONNECT = RouteKind.CONNECT.value
KIND_AUTHZ = RouteKind.AUTHZ.value
"""Values of ``kind`` for routes that lead to no provider."""

MetadataValue = str | tuple[str, ...]
"""A value for the logs: a text or a list of texts."""

FinishedResponse = NewType("FinishedResponse", bytes)
"""A serialized ``CheckResponse`` with a status, from a function that sets it explicitly."""

ResponseFragment = NewType("ResponseFragment", bytes)
"""A serialized ``CheckResponse`` without a status, which alone would be an allow."""

_STATUS_FIRST = b"\n"
"""The first byte of every finished response: the tag of its field ``status``."""

_MAX_CACHED_CONTEXT = 4096
_OK = 0
_PERMISSION_DENIED = 7
_UNAVAILABLE = 14
_OVERWRITE = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class BadCheck(ValueError):  # noqa: N818 - the name says the subject
    """The bytes are not a ``CheckRequest``."""


@dataclass(slots=True)
class Check:
    """A request to check.

    Attributes:
        path: with the query, after Envoy's normalization; for texts, never for a decision.
        fields: the headers, each as ``read_field`` takes it, in order, duplicates and
            pseudo-headers kept.
        context_extensions: of the matched route, still serialized; empty for a route without them.
        external: whether an Envoy asks that authz does not configure.
        metadata: what filters in front of the check have read, still serialized.
    """

    method: str
    path: str
    fields: Sequence[bytes]
    context_extensions: tuple[bytes, ...]
    external: bool = False
    metadata: bytes = b""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Lower-case names and raw values; raises ``BadCheck``."""
        return [read_field(field) for field in self.fields]

    @property
    def context(self) -> Mapping[str, str]:
        """The matched route's ``context_extensions``, read; raises ``BadCheck``."""
        return read_context(self.context_extensions)

    @property
    def query(self) -> str:
        """The text after the first question mark of the path."""
        return self.path.partition("?")[2] if "?" in self.path else ""

    def header(self, name: str) -> str:
        """Return the first value of a header, for texts; empty without a readable one."""
        wanted = name.encode()
        for field in self.fields:
            if wanted in field:
                try:
                    found, value = read_field(field)
                except BadCheck:
                    continue
                if found == name:
                    return value.decode("ascii", "replace")
        return ""


def read(message: bytes) -> Check:
    """Read a serialized ``CheckRequest``.

    Raises:
        BadCheck: the bytes are not a ``CheckRequest``.
    """
    try:
        attributes = pb.CheckRequest.FromString(message).attributes
    except DecodeError:
        raise BadCheck("not a CheckRequest") from None
    http = attributes.request.http
    return Check(
        http.method,
        http.path,
        http.header_map.headers,
        tuple(attributes.context_extensions),
        metadata=attributes.metadata_context,
    )


def read_field(field: bytes) -> tuple[str, bytes]:
    """Read one of ``Check.fields``: a lower-case name and a raw value.

    Raises:
        BadCheck: the bytes are not a header.
    """
    try:
        header = pb.HeaderValue.FromString(field)
    except DecodeError:
        raise BadCheck("not a header") from None
    return header.key, header.raw_value or header.value.encode()


def read_context(context_extensions: tuple[bytes, ...]) -> Mapping[str, str]:
    """Read serialized ``context_extensions``; raises ``BadCheck``."""
    # A route's own are short. Those of an external gateway may hold names that a client has chosen.
    if sum(map(len, context_extensions)) > _MAX_CACHED_CONTEXT:
        return _parsed_context(context_extensions)
    return _cached_context(context_extensions)


def write_route(facts: Mapping[str, str]) -> str:
    """Write a route's ``context_extensions`` as text for a header."""
    entries = [
        pb.ContextExtension(key=key, value=value).SerializeToString()
        for key, value in sorted(facts.items())
    ]
    message = pb.AttributeContext(context_extensions=entries)
    return b64encode(message.SerializeToString()).decode()


@lru_cache(maxsize=1024)
def read_route(text: str) -> tuple[bytes, ...]:
    """Return the ``context_extensions`` that ``write_route`` wrote; raises ``BadCheck``."""
    try:
        message = pb.AttributeContext.FromString(b64decode(text, validate=True))
    except (ValueError, DecodeError):
        raise BadCheck("not a route") from None
    return tuple(message.context_extensions)


def _parsed_context(context_extensions: tuple[bytes, ...]) -> Mapping[str, str]:
    try:
        entries = [pb.ContextExtension.FromString(entry) for entry in context_extensions]
    except DecodeError:
        raise BadCheck("not a route's context_extensions") from None
    return {entry.key: entry.value for entry in entries}


_cached_context = lru_cache(maxsize=1024)(_parsed_context)


def allow(decision: Allow, metadata: Mapping[str, MetadataValue]) -> FinishedResponse:
    """Write the response that lets the request pass with exactly one credential.

    It lacks ``decision.appended``, which depends on the request; see ``with_appended``.
    Envoy applies ``headers_to_remove`` after ``headers``, so no name may be in both.
    """
    response = pb.CheckResponse(status=pb.Status(code=_OK))
    ok = response.ok_response
    if decision.credential is not None and decision.header is not None:
        _set(ok.headers.add(), decision.header, decision.credential.reveal())
    for name, value in decision.headers:
        _set(ok.headers.add(), name, value)
    kept = {decision.header, *(name for name, _ in decision.headers)}
    removed = dict.fromkeys((*CREDENTIAL_HEADERS, *decision.token_headers))
    ok.headers_to_remove.extend(name for name in removed if name not in kept)
    ok.query_parameters_to_remove.extend(decision.query)
    if decision.further:
        metadata = {**metadata, **_further_tries(decision)}
    return _finished(response, metadata)


def _further_tries(decision: Allow) -> dict[str, MetadataValue]:
    if not decision.further_header or decision.provider is None:
        raise ValueError("further credentials without a header or a provider")
    keys = [
        (
            one.provider or decision.provider,
            "" if one.key_index is None else str(one.key_index),
            one.hint,
            one.value.reveal(),
        )
        for one in decision.further
    ]
    metadata: dict[str, MetadataValue] = {
        METADATA_FURTHER_KEYS: (decision.further_header, *chain.from_iterable(keys))
    }
    retries = len(keys)
    if decision.credential is None:
        metadata[METADATA_FIRST_PROVIDER] = keys[0][0]
        retries -= 1
    if retries:
        metadata[METADATA_RETRIES] = str(retries)
        metadata[METADATA_RETRY_STATUSES] = ",".join(map(str, RETRIED_STATUSES))
    return metadata


def with_appended(
    response: FinishedResponse, headers: Sequence[tuple[str, str]], check: Check
) -> FinishedResponse:
    """Add headers to an allow: after the client's values, or alone where the client has none.

    Envoy appends to a header that is there, and drops the addition otherwise. An external gateway
    need not tell authz of every header, so there it is always an addition.

    Args:
        response: from ``allow``.
        headers: of ``Allow.appended``.
        check: of the request.

    Raises:
        ValueError: ``response`` is not finished; the result would mean allow.
    """
    parts = [
        _appended_fragment(name, value, check.external or bool(check.header(name)))
        for name, value in headers
    ]
    return _joined(response, *parts)


@lru_cache(maxsize=64)
def _appended_fragment(name: str, value: str, is_there: bool) -> ResponseFragment:
    fragment = pb.CheckResponse()
    option = fragment.ok_response.headers.add()
    if is_there:
        option.header.key, option.header.value = name, value
        option.append.value = True
    else:
        _set(option, name, value)
    return ResponseFragment(fragment.SerializeToString())


def with_path(response: FinishedResponse, path: str) -> FinishedResponse:
    """Add the request's path to a response, for the access log.

    Args:
        response: from one of the functions that build responses.
        path: already masked.

    Raises:
        ValueError: ``response`` is not finished; the result would mean allow.
    """
    return _joined(response, _path_fragment(path))


@lru_cache(maxsize=1024)
def _path_fragment(path: str) -> ResponseFragment:
    return _fragment({"path": path})


def with_tags(response: FinishedResponse, project: str, session: str) -> FinishedResponse:
    """Add the names of a request's project and session to a response, for the logs.

    Args:
        response: from one of the functions that build responses.
        project: empty for none.
        session: empty for none.

    Raises:
        ValueError: ``response`` is not finished; the result would mean allow.
    """
    return _joined(response, _tags_fragment(project, session))


@lru_cache(maxsize=1024)
def _tags_fragment(project: str, session: str) -> ResponseFragment:
    tags = {METADATA_PROJECT: project, METADATA_SESSION: session}
    return _fragment({name: value for name, value in tags.items() if value})


def with_path_and_id(response: FinishedResponse, path: str, entry_id: bytes) -> FinishedResponse:
    """Add the path and the id of a request to a response, for the logs.

    Args:
        response: from one of the functions that build responses.
        path: already masked.
        entry_id: of ``ENTRY_ID_LENGTH`` bytes.

    Raises:
        ValueError: ``response`` is not finished; the result would mean allow.
    """
    # The id comes last, since it alone differs in each response.
    return _joined(response, _path_fragment(path), _BEFORE_ENTRY_ID, entry_id)


def with_external_id(response: FinishedResponse, entry_id: bytes) -> FinishedResponse:
    """Add the id of a request of an external gateway, of ``EXTERNAL_ID_LENGTH`` bytes.

    Raises:
        ValueError: ``response`` is not finished; the result would mean allow.
    """
    return _joined(response, ResponseFragment(_BEFORE_EXTERNAL_ID + entry_id))


def with_token_end(response: FinishedResponse, expires_at: datetime) -> FinishedResponse:
    """Add a header to an allow that tells the client when its token ends.

    Args:
        response: from ``allow``.
        expires_at: the end of the token, timezone-aware.

    Raises:
        ValueError: ``response`` is not finished; the result would mean allow.
    """
    return _joined(response, _end_fragment(expires_at))


@lru_cache(maxsize=1024)
def _end_fragment(expires_at: datetime) -> ResponseFragment:
    fragment = pb.CheckResponse()
    end = f"{expires_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    _set(fragment.ok_response.response_headers_to_add.add(), TOKEN_END_HEADER, end)
    return ResponseFragment(fragment.SerializeToString())


def _joined(response: FinishedResponse, *fragments: bytes) -> FinishedResponse:
    """Add fragments; protobuf merges concatenated messages, so this serializes nothing again."""
    if not response.startswith(_STATUS_FIRST):
        raise ValueError("not a finished response")
    return FinishedResponse(b"".join((response, *fragments)))


def deny(http: HttpResponse, metadata: Mapping[str, MetadataValue]) -> FinishedResponse:
    """Write the response that refuses the request with a complete HTTP response."""
    response = pb.CheckResponse(status=pb.Status(code=_PERMISSION_DENIED))
    _fill(response.denied_response, http)
    return _finished(response, metadata)


def unavailable(
    http: HttpResponse, metadata: Mapping[str, str], *, external: bool = False
) -> FinishedResponse:
    """Write the response for a request without a decision; Envoy counts it as an error.

    Args:
        external: whether the Envoy may be older than 1.37, which has no ``error_response`` yet. It
            counts a refusal instead.
    """
    response = pb.CheckResponse(status=pb.Status(code=_UNAVAILABLE))
    _fill(response.denied_response if external else response.error_response, http)
    return _finished(response, metadata)


def metadata_of(response: bytes) -> dict[str, str]:
    """Return the metadata of a response, for the logs; none of it is secret."""
    fields = pb.CheckResponse.FromString(response).dynamic_metadata.fields
    return {
        name: ", ".join(one.string_value for one in value.list_value.values)
        if value.HasField("list_value")
        else value.string_value
        for name, value in fields.items()
        if name != METADATA_FURTHER_KEYS
    }


def _fill(response: pb.DeniedHttpResponse, http: HttpResponse) -> None:
    response.status.code = http.status
    for name, value in http.headers:
        _set(response.headers.add(), name, value)
    response.body = http.body


def _set(option: pb.HeaderValueOption, name: str, value: str) -> None:
    # Envoy would send `raw_value` as an empty credential, and would append a second header.
    option.header.key = name
    option.header.value = value
    option.append_action = _OVERWRITE


def _finished(
    response: pb.CheckResponse, metadata: Mapping[str, MetadataValue]
) -> FinishedResponse:
    if not response.HasField("status"):
        raise ValueError("a response without a status would mean allow")
    _add_metadata(response, metadata)
    return FinishedResponse(response.SerializeToString())


def _fragment(metadata: Mapping[str, str]) -> ResponseFragment:
    fragment = pb.CheckResponse()
    _add_metadata(fragment, metadata)
    return ResponseFragment(fragment.SerializeToString())


def _add_metadata(response: pb.CheckResponse, metadata: Mapping[str, MetadataValue]) -> None:
    fields = response.dynamic_metadata.fields
    for key, value in metadata.items():
        if isinstance(value, str):
            fields[key].string_value = value
        else:
            fields[key].list_value.extend(value)


ENTRY_ID_LENGTH = 25
_BEFORE_ENTRY_ID = _fragment({METADATA_ENTRY: " " * ENTRY_ID_LENGTH})[:-ENTRY_ID_LENGTH]
EXTERNAL_ID_LENGTH = 45
_BEFORE_EXTERNAL_ID = _fragment({METADATA_ENTRY: " " * EXTERNAL_ID_LENGTH})[:-EXTERNAL_ID_LENGTH]
