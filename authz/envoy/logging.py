"""The access log, and the bodies of answers that Envoy makes itself."""

from typing import Any as Anything

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    MetadataFilter,
    OrFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import (
    MetadataMatcher,
    MetadataMatcherPathSegment,
    ValueMatcher,
)

from authz import answers
from authz.access_log import RETRY_AFTER
from authz.envoy.filters import AUTHZ_CLUSTER, EXT_AUTHZ, PROXY_SESSION_KEY, REQUEST_ID_KEY
from authz.envoy.packing import exactly, packed, set_header, struct
from authz.ext_authz import METADATA_KEY_INDEX
from authz.providers import ErrorShape
from authz.settings import Config

REQUEST_ID = f"%FILTER_STATE({REQUEST_ID_KEY}:PLAIN)%"
"""The request id; the header itself is gone when the log line is written."""

REQUEST_ID_HEADER = set_header(answers.REQUEST_ID_HEADER, REQUEST_ID)
"""What Envoy adds to an answer of its own, as authz does to its answers."""


def _of_authz(key: str) -> str:
    return f"%DYNAMIC_METADATA({EXT_AUTHZ}:{key})%"


ACCESS_LOG_FIELDS = {
    "time": "%START_TIME%",
    "request_id": REQUEST_ID,
    "method": "%REQ(:METHOD)%",
    "route": "%ROUTE_NAME%",
    # As authz wrote it: without the query, and masked where a token stands in it. Of a CONNECT it
    # is the target.
    "path": _of_authz("path"),
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "decision": _of_authz("decision"),
    "reason": _of_authz("reason"),
    "user": _of_authz("user"),
    "user_id": _of_authz("user_id"),
    "token_id": _of_authz("token_id"),
    "token_name": _of_authz("token_name"),
    # "true" where `identity_stale_if_error` let a request pass.
    "identity_stale": _of_authz("identity_stale"),
    "mode": _of_authz("mode"),
    "provider": _of_authz("provider"),
    "credential_hint": _of_authz("credential_hint"),
    # The request id of the CONNECT, on its own line and on those of the requests inside.
    "proxy_session": f"%FILTER_STATE({PROXY_SESSION_KEY}:PLAIN)%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "authz_ms": _of_authz("ext_authz_duration"),
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "upstream": "%UPSTREAM_CLUSTER%",
}


def access_logs(config: Config) -> list[AccessLog]:
    """Return the logs: one JSON line per request on standard output, and what authz has to know."""
    has_pool = any(provider.keys for provider in config.providers)
    return [_json_lines(), *([_refused_keys()] if has_pool else [])]


def _refused_keys() -> AccessLog:
    """Tell authz at once when a provider has refused a key of a pool.

    Over the connection that the checks take, so that a thread's next check comes after it.
    """
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=AccessLogFilter(
            and_filter=AndFilter(
                filters=[
                    AccessLogFilter(
                        or_filter=OrFilter(
                            filters=[
                                _status(ComparisonFilterOp.EQ, 401),
                                _status(ComparisonFilterOp.EQ, 429),
                            ]
                        )
                    ),
                    _from_authz(METADATA_KEY_INDEX),
                ]
            )
        ),
        typed_config=packed(
            HttpGrpcAccessLogConfig(
                common_config=CommonGrpcAccessLogConfig(
                    log_name="refused_keys",
                    grpc_service=GrpcService(
                        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=AUTHZ_CLUSTER)
                    ),
                    transport_api_version=ApiVersion.V3,
                    # Each entry at once; they are few.
                    buffer_size_bytes=0,
                ),
                additional_response_headers_to_log=[RETRY_AFTER],
            )
        ),
    )


def _json_lines() -> AccessLog:
    log_format = SubstitutionFormatString(json_format=struct(ACCESS_LOG_FIELDS))
    return AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=packed(StdoutAccessLog(log_format=log_format)),
    )


def local_replies() -> LocalReplyConfig:
    """Give Envoy's own answers a JSON body that both SDKs can read.

    What authz has answered passes as it is: its answers carry metadata, Envoy's own don't.
    """
    return LocalReplyConfig(
        mappers=[
            _mapper(
                [_status(ComparisonFilterOp.EQ, 503), _flag("UAEX"), _not_from_authz("decision")],
                "api_error",
                "identity_unavailable",
                "The gateway can't check Coder tokens at the moment. Try again shortly.",
                retry_after=answers.RETRY_AFTER_SECONDS,
            ),
            # A transfer coding that HTTP/1.1 lets a server refuse (RFC 9112 6.1).
            _mapper(
                [_status(ComparisonFilterOp.EQ, 501), _not_from_authz("reason")],
                "invalid_request_error",
                "bad_request",
                "The gateway can't serve this request (%RESPONSE_CODE_DETAILS%).",
            ),
            _mapper(
                [_status(ComparisonFilterOp.GE, 500), _not_from_authz("reason")],
                "api_error",
                "provider_unreachable",
                "The gateway got no answer from the provider (%RESPONSE_CODE_DETAILS%).",
            ),
            _mapper(
                [_status(ComparisonFilterOp.EQ, 404), _not_from_authz("reason")],
                "not_found_error",
                "route_not_supported",
                "The gateway can't serve this request (%RESPONSE_CODE_DETAILS%).",
            ),
            _mapper(
                [_status(ComparisonFilterOp.GE, 400), _not_from_authz("reason")],
                "invalid_request_error",
                "bad_request",
                "The gateway can't serve this request (%RESPONSE_CODE_DETAILS%).",
            ),
        ]
    )


def _mapper(
    conditions: list[AccessLogFilter],
    error_type: str,
    code: str,
    message: str,
    retry_after: int | None = None,
) -> ResponseMapper:
    body: dict[str, Anything] = answers.error_body(
        ErrorShape.ANY, error_type, code, message, REQUEST_ID
    )
    added = [REQUEST_ID_HEADER]
    if retry_after:
        added.append(set_header("retry-after", str(retry_after)))
    return ResponseMapper(
        filter=AccessLogFilter(and_filter=AndFilter(filters=conditions)),
        body_format_override=SubstitutionFormatString(
            json_format=struct(body), content_type="application/json"
        ),
        headers_to_add=added,
    )


def _status(op: ComparisonFilterOp, code: int) -> AccessLogFilter:
    comparison = ComparisonFilter(
        op=op, value=RuntimeUInt32(default_value=code, runtime_key="authz.never_set")
    )
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _flag(flag: str) -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[flag]))


def _from_authz(key: str) -> AccessLogFilter:
    """Match where authz gave metadata ``key``."""
    return AccessLogFilter(
        metadata_filter=MetadataFilter(
            matcher=MetadataMatcher(
                filter=EXT_AUTHZ,
                path=[MetadataMatcherPathSegment(key=key)],
                value=ValueMatcher(present_match=True),
            ),
            match_if_key_not_found=False,
        )
    )


def _not_from_authz(key: str) -> AccessLogFilter:
    """Match where authz gave no metadata ``key``: a refusal always has a reason."""
    return AccessLogFilter(
        metadata_filter=MetadataFilter(
            matcher=MetadataMatcher(
                filter=EXT_AUTHZ,
                path=[MetadataMatcherPathSegment(key=key)],
                # Matches no value that is there; `invert` has no effect in this filter.
                value=ValueMatcher(string_match=exactly("no such value")),
            ),
            match_if_key_not_found=True,
        )
    )
