"""The one module that knows protobuf: Envoy's ``Check`` in and out, as bytes.

A bare ``CheckResponse()`` means allow, and so does any other with status 0. Answers are therefore
built in three functions only: ``allow``, ``deny`` and ``unavailable``. They return a
``FinishedAnswer``, and what is added to one later is an ``AnswerPart``, which is never sent alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType

from google.protobuf.message import DecodeError

from authz.check.responses import Answer
from authz.core.decision import Allow, Kind
from authz.core.header_names import CREDENTIAL_HEADERS
from authz.pb import ext_authz_pb2 as pb

METHOD = "/envoy.service.auth.v3.Authorization/Check"
METADATA_NAMESPACE = "envoy.filters.http.ext_authz"
"""Where Envoy puts the metadata of an answer; the access log reads it there."""

METADATA_ENTRY = "entry"
"""The id of a request in the logs (``usage/ids.py``)."""
METADATA_NAMELESS = "nameless_token"
"""The id of a token whose user the source does not tell; absent where it does."""
METADATA_KEY_INDEX = "key_index"
"""Which key of a pool was used; Envoy's access log stream brings it back to us."""

CONTEXT_PROVIDER = "provider"
CONTEXT_BASE_URL = "base_url"
CONTEXT_SUPPORTED = "supported"
CONTEXT_CENTRAL_KEY = "central_key"
CONTEXT_KEYLESS = "keyless"
CONTEXT_KIND = "kind"
"""Keys of a route's ``context_extensions``; ``authz envoy render`` writes them, we read them."""

SUPPORTED_OWN = "own"
"""The value of ``supported`` for what is served with the user's own credential only."""
KIND_CONNECT = Kind.CONNECT.value
KIND_OWN = Kind.OWN.value
"""Values of ``kind`` for routes that lead to no provider."""

FinishedAnswer = NewType("FinishedAnswer", bytes)
"""A serialized ``CheckResponse`` with a status, from a function that decides on it."""

AnswerPart = NewType("AnswerPart", bytes)
"""A serialized ``CheckResponse`` without a status, which by itself would be an allow."""

_STATUS_FIRST = b"\n"
"""The first byte of every finished answer: the tag of its field ``status``."""

_OK = 0
_PERMISSION_DENIED = 7
_UNAVAILABLE = 14
_OVERWRITE = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class BadCheck(ValueError):  # noqa: N818 - it is named for what it is about
    """The bytes are no ``CheckRequest``."""


@dataclass(slots=True)
class Check:
    """What Envoy asks.

    Attributes:
        path: with the query, after Envoy's normalization; for texts, never for a decision.
        fields: the headers, each as ``read_field`` takes it, in order, duplicates and
            pseudo-headers kept.
        facts: the matched route's ``context_extensions``, unread; empty for a route without them.
    """

    method: str
    path: str
    fields: Sequence[bytes]
    facts: tuple[bytes, ...]

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Lower-case names and raw values; raises ``BadCheck``."""
        return [read_field(field) for field in self.fields]

    @property
    def context(self) -> Mapping[str, str]:
        """The matched route's ``context_extensions``, read; raises ``BadCheck``."""
        return _read_facts(self.facts)

    @property
    def query(self) -> str:
        """What stands behind the first question mark of the path."""
        return self.path.partition("?")[2] if "?" in self.path else ""

    def header(self, name: str) -> str:
        """Return the first value of a header for texts; empty where there is none to be read."""
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
        BadCheck: the bytes are none.
    """
    try:
        attributes = pb.CheckRequest.FromString(message).attributes
    except DecodeError:
        raise BadCheck("not a CheckRequest") from None
    http = attributes.request.http
    return Check(
        http.method, http.path, http.header_map.headers, tuple(attributes.context_extensions)
    )


def read_field(field: bytes) -> tuple[str, bytes]:
    """Read one of ``Check.fields``: a lower-case name and a raw value.

    Raises:
        BadCheck: it is no header.
    """
    try:
        header = pb.HeaderValue.FromString(field)
    except DecodeError:
        raise BadCheck("not a header") from None
    return header.key, header.raw_value


@lru_cache(maxsize=1024)
def _read_facts(facts: tuple[bytes, ...]) -> Mapping[str, str]:
    try:
        read = [pb.ContextExtension.FromString(fact) for fact in facts]
    except DecodeError:
        raise BadCheck("not a route's facts") from None
    return {fact.key: fact.value for fact in read}


def allow(decision: Allow, metadata: Mapping[str, str]) -> FinishedAnswer:
    """Let the request pass, with the provider's credential as the only one.

    ``headers_to_remove`` is applied after ``headers``, so no name may be in both.
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
    return _finished(response, metadata)


def at(answer: FinishedAnswer, place: str) -> FinishedAnswer:
    """Add to an answer, for the access log, where its request went.

    Args:
        answer: from one of the functions that build answers.
        place: masked already.

    Raises:
        ValueError: ``answer`` is not finished; what would come out would mean allow.
    """
    return _joined(answer, _place_part(place))


@lru_cache(maxsize=1024)
def _place_part(place: str) -> AnswerPart:
    return _part({"path": place})


def numbered(answer: FinishedAnswer, entry_id: bytes) -> FinishedAnswer:
    """Add to an answer the id of its request, for the logs.

    Args:
        answer: from one of the functions that build answers.
        entry_id: of ``ENTRY_ID_LENGTH`` bytes.

    Raises:
        ValueError: ``answer`` is not finished; what would come out would mean allow.
    """
    # The id is new each time, and all that is before it the same: it stands last.
    return _joined(answer, AnswerPart(_BEFORE_ENTRY_ID + entry_id))


def _joined(answer: FinishedAnswer, part: AnswerPart) -> FinishedAnswer:
    """Add a part. Protobuf merges what is concatenated, so the answer is not written again."""
    if not answer.startswith(_STATUS_FIRST):
        raise ValueError("not a finished answer")
    return FinishedAnswer(answer + part)


def deny(answer: Answer, metadata: Mapping[str, str]) -> FinishedAnswer:
    """Refuse the request with a finished HTTP answer."""
    response = pb.CheckResponse(status=pb.Status(code=_PERMISSION_DENIED))
    _fill(response.denied_response, answer)
    return _finished(response, metadata)


def unavailable(answer: Answer, metadata: Mapping[str, str]) -> FinishedAnswer:
    """Say that nothing can be decided; Envoy counts an error and sends the answer."""
    response = pb.CheckResponse(status=pb.Status(code=_UNAVAILABLE))
    _fill(response.error_response, answer)
    return _finished(response, metadata)


def metadata_of(answer: bytes) -> dict[str, str]:
    """Return what an answer says of its request for the logs; nothing of it is secret."""
    fields = pb.CheckResponse.FromString(answer).dynamic_metadata.fields
    return {name: value.string_value for name, value in fields.items()}


def _fill(response: pb.DeniedHttpResponse, answer: Answer) -> None:
    response.status.code = answer.status
    for name, value in answer.headers:
        _set(response.headers.add(), name, value)
    response.body = answer.body


def _set(option: pb.HeaderValueOption, name: str, value: str) -> None:
    # `raw_value` would send an empty credential, and appending two of them.
    option.header.key = name
    option.header.value = value
    option.append_action = _OVERWRITE


def _finished(response: pb.CheckResponse, metadata: Mapping[str, str]) -> FinishedAnswer:
    if not response.HasField("status"):
        raise ValueError("an answer without a status would mean allow")
    _add_metadata(response, metadata)
    return FinishedAnswer(response.SerializeToString())


def _part(metadata: Mapping[str, str]) -> AnswerPart:
    part = pb.CheckResponse()
    _add_metadata(part, metadata)
    return AnswerPart(part.SerializeToString())


def _add_metadata(response: pb.CheckResponse, metadata: Mapping[str, str]) -> None:
    fields = response.dynamic_metadata.fields
    for key, value in metadata.items():
        fields[key].string_value = value


ENTRY_ID_LENGTH = 25
_BEFORE_ENTRY_ID = _part({METADATA_ENTRY: " " * ENTRY_ID_LENGTH})[:-ENTRY_ID_LENGTH]
