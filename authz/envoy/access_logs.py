"""The access logs: a JSON line for each request, and the stream that authz reads."""

from collections.abc import Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilterOp,
    OrFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.access_loggers.open_telemetry.v3 import (
    OpenTelemetryAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.opentelemetry.proto.common.v1 import AnyValue

from authz.check.ext_authz import (
    METADATA_ENTRY,
    METADATA_FACTS,
    METADATA_GROUPS,
    METADATA_KEY_INDEX,
    METADATA_PROJECT,
    METADATA_SESSION,
)
from authz.check.refused_keys import RETRY_AFTER
from authz.config.external_gateways import CONTEXT_ROUTES
from authz.config.settings import Config
from authz.envoy.filters import AUTHZ_CLUSTER
from authz.envoy.local_replies import REQUEST_ID, from_authz, not_from_authz, status_is
from authz.envoy.mark import mark
from authz.envoy.packing import packed, struct
from authz.envoy.replicas import notified_clusters
from authz.envoy.text_lines import FOUND, any_of, of_authz, text_lines
from authz.usage.names import (
    PROXY_SESSION_KEY,
    RECORD_LINES,
    REQUEST_LINES,
    marked_request,
)

_SEND_TIMEOUT = timedelta(seconds=5)
"""Envoy drops a batch that authz has not taken after this time."""


def _found(field: str) -> str:
    """Return the format of a field of Envoy's TokenUsage, null where it is not set.

    Each expression takes Envoy about two microseconds (docs/performance.md).
    """
    return f"%TYPED_CEL({FOUND}.{field})%"


_NO_TEXT = "%REQ(:METHOD):0%"
"""Nothing. A value of two parts is a text: Envoy writes it in a sixth of the instructions that a
value takes which may be anything."""


ACCESS_LOG_FIELDS = {
    "time": "%START_TIME%",
    # As in the database: `authz usage import` looks for it.
    "entry": of_authz(METADATA_ENTRY),
    "request_id": REQUEST_ID,
    "method": "%REQ(:METHOD)%",
    "route": "%ROUTE_NAME%",
    # As authz wrote it: without the query, and masked where a token stands in it. Of a CONNECT it
    # is the target.
    "path": of_authz("path"),
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "decision": of_authz("decision"),
    "reason": of_authz("reason"),
    "user": of_authz("user"),
    "user_id": of_authz("user_id"),
    "token_id": of_authz("token_id"),
    "token_name": of_authz("token_name"),
    # A list; null without groups.
    "groups": of_authz(METADATA_GROUPS),
    # "true" where `identity_stale_if_error` let a request pass.
    "identity_stale": of_authz("identity_stale"),
    "mode": of_authz("mode"),
    "provider": of_authz("provider"),
    "credential_hint": of_authz("credential_hint"),
    # The request id of the CONNECT, on its own line and on those of the requests inside.
    "proxy_session": f"%FILTER_STATE({PROXY_SESSION_KEY}:PLAIN)%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "authz_ms": of_authz("ext_authz_duration"),
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "upstream": "%UPSTREAM_CLUSTER%",
}

_ALLOWED_TEXTS = (
    *(METADATA_ENTRY, "path", "user", "user_id", "token_id", "token_name"),
    *("mode", "provider", "credential_hint"),
)
_ALLOWED_FIELDS = {
    "decision": "allow",
    "reason": None,
    "identity_stale": None,
    **{name: f"{of_authz(name)}{_NO_TEXT}" for name in _ALLOWED_TEXTS},
}
"""The fields of a request that authz let go to a provider which are texts, or always the same."""

USAGE_FIELDS = {
    "model": f"%TYPED_CEL(has({FOUND}.model) ? {FOUND}.model : null):200%",
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

_RECORD_FIELDS = {
    "facts": of_authz(METADATA_FACTS),
    # The whole message, in protobuf's debug text. A model's name may be long, but not as long.
    "tokens": f"%CEL({FOUND}):4096%",
}

_PRINTABLE = f"{FOUND}.model.matches('^[ -~]+$')"
_PRINTABLE_MODEL = f"%TYPED_CEL({_PRINTABLE} ? {FOUND}.model : null):200%"
"""For JSON lines: JSON does not escape characters beyond ASCII on which a terminal acts."""

TAG_FIELDS = {name: of_authz(name) for name in (METADATA_PROJECT, METADATA_SESSION)}
"""Names that the client chose, as authz wrote them."""

TRACE_FIELDS = {"trace_id": "%TRACE_ID%"}
"""To find a request's spans."""


def access_logs(config: Config) -> list[AccessLog]:
    """Return the logs: a line per request on standard output, and what authz has to know."""
    return [
        *(text_lines(config) if config.log.access == "text" else _json_lines(config)),
        # Also without a pool of keys: a listener that changed would cut its streams, and so a
        # reload could not bring the first pool.
        *map(_refused_keys, notified_clusters(config)),
        *([_requests(config)] if config.usage.enabled else []),
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


def _requests(config: Config) -> AccessLog:
    """Send a record of each request to authz, which writes it to the database.

    By OpenTelemetry's protocol, whose records have the fields we name and no others: Envoy's own
    gRPC logger fills messages of 2 KB. A second's or 16 KB of them go together; Envoy 1.40 heeds
    settings for that only in a part of the message that it has deprecated.

    A record is one text, since each further value, field of metadata and expression costs Envoy
    more than its share of a text.
    """
    # Beside other gateways, which send records to the same authz, the mark says whose this one is.
    marks = mark(config)
    kind = marked_request(marks[CONTEXT_ROUTES], REQUEST_LINES) if marks else REQUEST_LINES
    tags = TAG_FIELDS if config.usage.has_tags else {}
    fields = ACCESS_LOG_FIELDS | USAGE_FIELDS | _RECORD_FIELDS
    lines = "\n".join((kind, *(fields[name] for name in RECORD_LINES), *tags.values()))
    logger = OpenTelemetryAccessLogConfig(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=AUTHZ_CLUSTER), timeout=_SEND_TIMEOUT
        ),
        disable_builtin_labels=True,
        body=AnyValue(string_value=lines),
    )
    return AccessLog(
        name="envoy.access_loggers.open_telemetry",
        filter=from_authz(METADATA_ENTRY),
        typed_config=packed(logger),
    )


def _json_lines(config: Config) -> list[AccessLog]:
    """Return the log for programs: one object for each request.

    It has two formats with the same fields, one for the usual request. Each request matches
    exactly one of them: the filters are opposites.
    """
    usage = USAGE_FIELDS | {"model": _PRINTABLE_MODEL} if config.usage.enabled else {}
    traces = TRACE_FIELDS if config.tracing is not None else {}
    tags = TAG_FIELDS if config.usage.has_tags else {}
    fields = ACCESS_LOG_FIELDS | usage | tags | traces
    allowed = [from_authz("mode"), not_from_authz("identity_stale")]
    return [
        _json_line(
            fields | _ALLOWED_FIELDS, AccessLogFilter(and_filter=AndFilter(filters=allowed))
        ),
        _json_line(fields, any_of(not_from_authz("mode"), from_authz("identity_stale"))),
    ]


def _json_line(fields: Mapping[str, str | None], condition: AccessLogFilter) -> AccessLog:
    log_format = SubstitutionFormatString(json_format=struct(dict(fields)))
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=condition,
        typed_config=packed(StdoutAccessLog(log_format=log_format)),
    )
