"""The bodies of answers that Envoy makes itself."""

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    MetadataFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    RuntimeUInt32,
    SubstitutionFormatString,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import (
    MetadataMatcher,
    MetadataMatcherPathSegment,
    ValueMatcher,
)

from authz.check import responses
from authz.check.ext_authz import METADATA_NAMESPACE
from authz.core.providers import ErrorShape
from authz.envoy.early_refusals import HTTP_1_0, TOO_LARGE, cel, refused_early
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.packing import exactly, set_header, struct
from authz.envoy.page_replies import page_reply
from authz.envoy.reply_texts import (
    HEADERS_TOO_LARGE,
    IS_EJECTED,
    IS_SILENT,
    RETRY_AFTER_EJECTION,
    ejected,
    no_answer,
    refused,
    silent,
)
from authz.envoy.typed_struct import typed_struct
from authz.usage.names import REQUEST_ID_KEY

REQUEST_ID = f"%FILTER_STATE({REQUEST_ID_KEY}:PLAIN)%"
"""The request id; the header itself is gone when the log line is written."""

_PROVIDER = f"%DYNAMIC_METADATA({METADATA_NAMESPACE}:provider)%"


def local_replies(idle_seconds: int) -> LocalReplyConfig:
    """Give Envoy's own answers a JSON body that both SDKs can read.

    Args:
        idle_seconds: the time-out for silence of every route that has none of its own.
    """
    return LocalReplyConfig(
        mappers=[
            # An answer of authz itself passes as it is: a refusal always has a reason.
            ResponseMapper(filter=from_authz("reason")),
            page_reply(),
            json_reply(
                refused_early(TOO_LARGE),
                "invalid_request_error",
                "headers_too_large",
                HEADERS_TOO_LARGE,
                status=431,
            ),
            json_reply(
                refused_early(HTTP_1_0),
                "invalid_request_error",
                "bad_request",
                "An HTTP/1.0 request can't upgrade. Send it as HTTP/1.1.",
                status=400,
            ),
            json_reply(
                'response.code == 503 && response.code_details.contains("ext_authz")',
                "api_error",
                "identity_unavailable",
                "The gateway can't check Coder tokens at the moment. Try again shortly.",
                retry_after=responses.RETRY_AFTER_SECONDS,
            ),
            json_reply(
                "response.code == 429",
                "rate_limit_error",
                "user_rate_limited",
                "You have asked more often than this gateway lets you (limits in gateway.yaml). "
                "Try again shortly.",
            ),
            json_reply(
                "response.code == 404",
                "not_found_error",
                "route_not_supported",
                "There is nothing at this address.",
            ),
            json_reply(
                IS_EJECTED,
                "api_error",
                "provider_ejected",
                ejected(),
                retry_after=RETRY_AFTER_EJECTION,
            ),
            json_reply(
                IS_SILENT,
                "api_error",
                "provider_timeout",
                silent(_PROVIDER, idle_seconds),
                # The provider has the whole request, and may ask for its price all the same.
                may_retry=False,
            ),
            json_reply(
                # 501 refuses a transfer coding, which HTTP/1.1 lets a server do (RFC 9112 6.1).
                "response.code >= 500 && response.code != 501",
                "api_error",
                "provider_unreachable",
                f"The gateway got no answer{no_answer(' from the provider')}.",
            ),
            json_reply(
                "response.code >= 400",
                "invalid_request_error",
                "bad_request",
                refused(),
            ),
        ]
    )


def json_reply(
    condition: str | AccessLogFilter,
    error_type: str,
    code: str,
    message: str,
    retry_after: int | str | None = None,
    status: int | None = None,
    *,
    may_retry: bool = True,
) -> ResponseMapper:
    """Return an error as JSON that both SDKs can read.

    Args:
        condition: matches the answers that it replaces; a text is a CEL expression.
        message: a format.
        retry_after: in seconds; a text is a format.
        status: takes the place of Envoy's.
        may_retry: whether SDKs may send the request again without asking.
    """
    body = responses.error_body(ErrorShape.ANY, error_type, code, message, REQUEST_ID)
    added = [set_header(responses.REQUEST_ID_HEADER, REQUEST_ID)]
    if retry_after:
        added.append(set_header("retry-after", str(retry_after)))
    if not may_retry:
        added.append(set_header("x-should-retry", "false"))
    return ResponseMapper(
        filter=cel(condition) if isinstance(condition, str) else condition,
        status_code=status,
        body_format_override=SubstitutionFormatString(
            json_format=struct(body),
            content_type="application/json",
            formatters=[_joining_texts()] if "%CEL(" in message and " + " in message else [],
        ),
        headers_to_add=added,
    )


def _joining_texts() -> TypedExtensionConfig:
    """Let expressions join texts, which Envoy's own command does not."""
    values = {"cel_config": {"enable_string_concat": True}}
    return TypedExtensionConfig(
        name="envoy.formatter.cel",
        typed_config=typed_struct("envoy.extensions.formatter.cel.v3.Cel", values),
    )


def status_is(op: ComparisonFilterOp, code: int) -> AccessLogFilter:
    """Match a status by comparison."""
    comparison = ComparisonFilter(
        op=op, value=RuntimeUInt32(default_value=code, runtime_key="authz.never_set")
    )
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def from_authz(key: str) -> AccessLogFilter:
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


def not_from_authz(key: str) -> AccessLogFilter:
    """Match where authz gave no metadata ``key``."""
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
