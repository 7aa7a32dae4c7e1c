"""The filter that lets authz end a request in progress (``docs/open-streams.md``).

``ext_proc`` opens a gRPC stream to authz for each request. Envoy keeps that stream until the
request is over only if a later part of it is to be processed, so the filter asks for the response's
trailers. No body goes to authz.
"""

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc, HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ExtProcOverrides,
    ExtProcPerRoute,
    HeaderForwardingRules,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any

from authz.check.ext_authz import write_route
from authz.config.settings import Config
from authz.core.header_names import CREDENTIAL_HEADERS, ROUTE_HEADER
from authz.envoy.packing import exactly, packed, seconds

WATCH = "authz.open_streams"
WATCH_CLUSTER = "authz_open_streams"
"""A cluster of its own: these gRPC streams are as many as requests in progress, and must not count
as checks."""
ANSWER_SECONDS = 0.9


def watch(config: Config) -> list[HttpFilter]:
    """Return the filter, which acts on routes with ``watched`` alone; empty where it is off."""
    if not config.revocation.end_streams:
        return []
    header, body = ProcessingModeHeaderSendMode, ProcessingModeBodySendMode
    further = {name for one in config.providers for name in one.credential_headers}
    names = (":path", *CREDENTIAL_HEADERS, *sorted(further - set(CREDENTIAL_HEADERS)))
    settings = ExternalProcessor(
        grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=WATCH_CLUSTER)),
        processing_mode=ProcessingMode(
            request_header_mode=header.SEND,
            response_header_mode=header.SKIP,
            request_body_mode=body.NONE,
            response_body_mode=body.NONE,
            request_trailer_mode=header.SKIP,
            response_trailer_mode=header.SEND,
        ),
        # Whether the request may pass is asked by the next filter, which fails closed.
        failure_mode_allow=config.revocation.unwatched == "keep",
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        message_timeout=seconds(ANSWER_SECONDS),
        forward_rules=HeaderForwardingRules(
            allowed_headers=ListStringMatcher(patterns=[exactly(name) for name in names])
        ),
    )
    return [HttpFilter(name=WATCH, typed_config=packed(settings), disabled=True)]


def watched(config: Config, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the per-route configuration of a route with these facts; empty where it is off."""
    if not config.revocation.end_streams:
        return {}
    told = HeaderValue(key=ROUTE_HEADER, value=write_route(facts))
    overrides = ExtProcOverrides(grpc_initial_metadata=[told])
    return {WATCH: packed(ExtProcPerRoute(overrides=overrides))}
