"""Reads and writes the messages of Envoy's external processing filter."""

from collections.abc import Mapping
from enum import Enum, auto

from google.protobuf.message import DecodeError

from authz.check.ext_authz import BadCheck, Check, read_route
from authz.check.responses import HttpResponse
from authz.pb import ext_proc_pb2 as pb

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


class Kind(Enum):
    """The kinds of messages, by the part of the request or response that Envoy waits with."""

    REQUEST_HEADERS = auto()
    RESPONSE_HEADERS = auto()
    REQUEST_TRAILERS = auto()
    RESPONSE_TRAILERS = auto()


# The first byte of a message is the tag of its part.
_KINDS: Mapping[int, Kind] = {
    0x12: Kind.REQUEST_HEADERS,
    0x1A: Kind.RESPONSE_HEADERS,
    0x32: Kind.REQUEST_TRAILERS,
    0x3A: Kind.RESPONSE_TRAILERS,
}
_EMPTY = pb.Empty()
GO_ON: Mapping[Kind, bytes] = {
    Kind.REQUEST_HEADERS: pb.ProcessingResponse(request_headers=_EMPTY).SerializeToString(),
    Kind.RESPONSE_HEADERS: pb.ProcessingResponse(response_headers=_EMPTY).SerializeToString(),
    Kind.REQUEST_TRAILERS: pb.ProcessingResponse(request_trailers=_EMPTY).SerializeToString(),
    Kind.RESPONSE_TRAILERS: pb.ProcessingResponse(response_trailers=_EMPTY).SerializeToString(),
}
"""The answers that change nothing."""


def kind_of(message: bytes) -> Kind | None:
    """Return the kind of a ``ProcessingRequest``; None for one that authz does not ask for."""
    return _KINDS.get(message[0]) if message else None


def read(message: bytes, route: str) -> Check:
    """Return the question that the request headers of a ``ProcessingRequest`` ask.

    Args:
        message: of the kind ``REQUEST_HEADERS``.
        route: the result of ``write_route`` for the request's route.

    Raises:
        BadCheck: the message or the route can't be read.
    """
    try:
        fields = pb.ProcessingRequest.FromString(message).request_headers.headers.headers
    except DecodeError:
        raise BadCheck("not a ProcessingRequest") from None
    check = Check("", "", list(fields), read_route(route))
    check.path = check.header(":path")
    return check


def end(response: HttpResponse, details: str) -> bytes:
    """Write the message that ends a request.

    Args:
        response: what the client gets if nothing of the provider's answer has gone out yet.
        details: Envoy's ``response_code_details`` in the access log.
    """
    message = pb.ProcessingResponse()
    immediate = message.immediate_response
    immediate.status.code = response.status
    for name, value in response.headers:
        header = immediate.headers.set_headers.add().header
        header.key, header.raw_value = name, value.encode()
    immediate.body = response.body.encode()
    immediate.details = details
    return message.SerializeToString()
