"""The access logs: a JSON line for each request, and the stream that authz reads."""

from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilterOp,
    HeaderFilter,
    OrFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.access_loggers.open_telemetry.v3 import (
    OpenTelemetryAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.opentelemetry.proto.common.v1 import AnyValue, ArrayValue

from authz.check.ext_authz import METADATA_ENTRY, METADATA_GROUPS, METADATA_KEY_INDEX
from authz.check.refused_keys import RETRY_AFTER
from authz.config.settings import Config
from authz.envoy.filters import AUTHZ_CLUSTER, EXT_AUTHZ
from authz.envoy.local_replies import REQUEST_ID, from_authz, not_from_authz, status_is
from authz.envoy.packing import exactly, packed, struct
from authz.envoy.replicas import notified_clusters
from authz.usage.names import (
    PROXY_SESSION_KEY,
    REQUEST,
    REQUEST_FIELDS,
    TOKEN_USAGE,
)

_SEND_TIMEOUT = timedelta(seconds=5)
"""Envoy drops a batch that authz has not taken after this time."""
_FOUND = f"metadata.typed_filter_metadata['{TOKEN_USAGE}']"


def _found(field: str) -> str:
    """Return the format of a field of Envoy's TokenUsage, null where it is not set.

    Each expression takes Envoy about two microseconds (docs/performance.md).
    """
    return f"%TYPED_CEL({_FOUND}.{field})%"


def _of_authz(key: str) -> str:
    return f"%DYNAMIC_METADATA({EXT_AUTHZ}:{key})%"


ACCESS_LOG_FIELDS = {
    "time": "%START_TIME%",
    # As in the database: `authz usage import` looks for it.
    "entry": _of_authz(METADATA_ENTRY),
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
    # A list; null without groups.
    "groups": _of_authz(METADATA_GROUPS),
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


USAGE_FIELDS = {
    "model": f"%TYPED_CEL(has({_FOUND}.model) ? {_FOUND}.model : null):200%",
    # Everything that was read, cached or not; `cached_tokens` and `cache_write_tokens` are of it.
    "input_tokens": _found("input_tokens"),
    "cached_tokens": _found("input_token_details.cached_tokens"),
    "cache_write_tokens": _found("input_token_details.cache_creation_tokens"),
    "output_tokens": _found("output_tokens"),
    "reasoning_tokens": _found("output_token_details.reasoning_tokens"),
    # envoy.data.ai.v3.TokenUsage.ExtractionStatus: 1 complete, 2 partial, 3 failed.
    "usage": _found("extraction_status"),
    # Of an answer that Envoy does not look into.
    "content_encoding": "%RESP(CONTENT-ENCODING):64%",
}
"""The provider's token counts; null if unknown. Envoy writes the typed metadata."""

_PRINTABLE = f"has({_FOUND}.model) && {_FOUND}.model.matches('^[ -~]*$')"
_PRINTABLE_MODEL = f"%TYPED_CEL({_PRINTABLE} ? {_FOUND}.model : null):200%"
"""For JSON lines: JSON does not escape characters beyond ASCII on which a terminal acts."""

_USUAL = f"size({_FOUND}.model) <= 64 && {_FOUND}.model.matches('^[!-~]+$')"
_MODEL = f"%TYPED_CEL({_USUAL} ? {_FOUND}.model : '-')%"
"""For lines of text, which escape nothing; the provider chooses the name."""

TRACE_FIELDS = {"trace_id": "%TRACE_ID%"}
"""To find a request's spans."""


def access_logs(config: Config) -> list[AccessLog]:
    """Return the logs: a line per request on standard output, and what authz has to know."""
    has_pool = any(provider.keys for provider in config.providers)
    return [
        *(_text_lines(config) if config.log.access == "text" else [_json_lines(config)]),
        *(map(_refused_keys, notified_clusters(config)) if has_pool else ()),
        *([_requests()] if config.usage.enabled else []),
    ]


def _refused_keys(cluster: str) -> AccessLog:
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
                                status_is(ComparisonFilterOp.EQ, 401),
                                status_is(ComparisonFilterOp.EQ, 429),
                            ]
                        )
                    ),
                    from_authz(METADATA_KEY_INDEX),
                ]
            )
        ),
        typed_config=packed(
            HttpGrpcAccessLogConfig(
                # Each entry at once; they are few.
                common_config=CommonGrpcAccessLogConfig(
                    log_name="refused_keys",
                    # A stream, which goes on for as long as both live.
                    grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster)),
                    transport_api_version=ApiVersion.V3,
                    buffer_size_bytes=0,
                ),
                additional_response_headers_to_log=[RETRY_AFTER],
            )
        ),
    )


def _requests() -> AccessLog:
    """Send a record of each request to authz, which writes it to the database.

    By OpenTelemetry's protocol, whose records have the fields we name and no others: Envoy's own
    gRPC logger fills messages of 2 KB. A second's or 16 KB of them go together; Envoy 1.40 heeds
    settings for that only in a part of the message that it has deprecated.
    """
    values = [REQUEST, *((ACCESS_LOG_FIELDS | USAGE_FIELDS)[name] for name in REQUEST_FIELDS)]
    config = OpenTelemetryAccessLogConfig(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=AUTHZ_CLUSTER), timeout=_SEND_TIMEOUT
        ),
        disable_builtin_labels=True,
        body=AnyValue(
            array_value=ArrayValue(values=[AnyValue(string_value=value) for value in values])
        ),
    )
    return AccessLog(
        name="envoy.access_loggers.open_telemetry",
        filter=from_authz(METADATA_ENTRY),
        typed_config=packed(config),
    )


def _json_lines(config: Config) -> AccessLog:
    usage = USAGE_FIELDS | {"model": _PRINTABLE_MODEL} if config.usage.enabled else {}
    traces = TRACE_FIELDS if config.tracing is not None else {}
    log_format = SubstitutionFormatString(json_format=struct(ACCESS_LOG_FIELDS | usage | traces))
    return AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=packed(StdoutAccessLog(log_format=log_format)),
    )


def _text_lines(config: Config) -> list[AccessLog]:
    """Return the log for people: a short line for each request, none for health checks.

    No part of a line can be more than a word or hold a control character: the path and the user are
    as authz has written them, and a model's name is left out where it is no usual one.
    """
    model = f"{_MODEL} " if config.usage.enabled else ""
    end = f"%RESPONSE_CODE% {_of_authz('user')} {model}%DURATION% ms\n"
    # `authz up` asks for `/` without a token to see whether a check is answered.
    is_no_probe = _any_of(_path_is_not("/"), status_is(ComparisonFilterOp.NE, 401))
    asked = [from_authz("path"), is_no_probe]
    others = [not_from_authz("path"), _path_is_not("/readyz"), _path_is_not("/healthz")]
    return [
        _text_line(f"%REQ(:METHOD)% {_of_authz('path')} {end}", asked),
        # Without a check no path was cleaned; it may hold anything.
        _text_line(f"%REQ(:METHOD)% %ROUTE_NAME% {end}", others),
    ]


def _text_line(line: str, conditions: list[AccessLogFilter]) -> AccessLog:
    source = DataSource(inline_string=line)
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=AccessLogFilter(and_filter=AndFilter(filters=conditions)),
        typed_config=packed(
            StdoutAccessLog(log_format=SubstitutionFormatString(text_format_source=source))
        ),
    )


def _path_is_not(path: str) -> AccessLogFilter:
    matcher = HeaderMatcher(
        name=":path",
        string_match=exactly(path),
        invert_match=True,
        # A CONNECT has none.
        treat_missing_header_as_empty=True,
    )
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))


def _any_of(*filters: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(or_filter=OrFilter(filters=list(filters)))
