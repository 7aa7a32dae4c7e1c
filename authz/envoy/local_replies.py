"""The bodies of answers that Envoy makes itself."""

from typing import Any as Anything

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    MetadataFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import RuntimeUInt32, SubstitutionFormatString
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
from authz.core.providers import ErrorShape
from authz.envoy.early_refusals import (
    HTTP_1_0,
    TOO_LARGE,
    cel,
    is_refused_early,
)
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.packing import exactly, set_header, struct
from authz.envoy.page_replies import page_replies
from authz.envoy.reply_texts import HEADERS_TOO_LARGE, NO_ANSWER, REFUSED, REFUSED_BY_STATUS
from authz.usage.names import REQUEST_ID_KEY

REQUEST_ID = f"%FILTER_STATE({REQUEST_ID_KEY}:PLAIN)%"
"""The request id; the header itself is gone when the log line is written."""

REQUEST_ID_HEADER = set_header(responses.REQUEST_ID_HEADER, REQUEST_ID)
"""What Envoy adds to an answer of its own, as authz does to its answers."""

_REFUSAL = "(response.code < 500 || response.code == 501)"


def local_replies() -> LocalReplyConfig:
    """Give Envoy's own answers a JSON body that both SDKs can read.

    What authz has answered passes as it is: its answers carry metadata, Envoy's own don't.
    """
    return LocalReplyConfig(
        mappers=[
            *page_replies(not_from_authz("reason")),
            _mapper(
                [is_refused_early(TOO_LARGE)],
                "invalid_request_error",
                "headers_too_large",
                HEADERS_TOO_LARGE,
                status=431,
            ),
            _mapper(
                [is_refused_early(HTTP_1_0)],
                "invalid_request_error",
                "bad_request",
                "An HTTP/1.0 request can't upgrade. Send it as HTTP/1.1.",
                status=400,
            ),
            _mapper(
                [status_is(ComparisonFilterOp.EQ, 503), _flag("UAEX"), not_from_authz("decision")],
                "api_error",
                "identity_unavailable",
                "The gateway can't check Coder tokens at the moment. Try again shortly.",
                retry_after=responses.RETRY_AFTER_SECONDS,
            ),
            _mapper(
                [status_is(ComparisonFilterOp.EQ, 429), not_from_authz("reason")],
                "rate_limit_error",
                "user_rate_limited",
                "You have asked more often than this gateway lets you (limits in gateway.yaml). "
                "Try again shortly.",
            ),
            *_refused(),
            # A transfer coding that HTTP/1.1 lets a server refuse (RFC 9112 6.1).
            _mapper(
                [status_is(ComparisonFilterOp.EQ, 501), not_from_authz("reason")],
                "invalid_request_error",
                "bad_request",
                "The gateway can't serve this request.",
            ),
            *_no_answer(),
            _mapper(
                [status_is(ComparisonFilterOp.GE, 500), not_from_authz("reason")],
                "api_error",
                "provider_unreachable",
                "The gateway got no answer from the provider.",
            ),
            _mapper(
                [status_is(ComparisonFilterOp.EQ, 404), not_from_authz("reason")],
                "not_found_error",
                "route_not_supported",
                "There is nothing at this address.",
            ),
            _mapper(
                [status_is(ComparisonFilterOp.GE, 400), not_from_authz("reason")],
                "invalid_request_error",
                "bad_request",
                "The gateway can't serve this request.",
            ),
        ]
    )


def _refused() -> list[ResponseMapper]:
    """Say what is wrong with a request that Envoy itself refuses."""
    conditions = [
        *(([cel(f"{details_have(part)} && {_REFUSAL}")], text) for part, text in REFUSED),
        *(
            ([status_is(ComparisonFilterOp.EQ, status), not_from_authz("reason")], text)
            for status, text in REFUSED_BY_STATUS
        ),
    ]
    return [
        _mapper(condition, "invalid_request_error", "bad_request", text)
        for condition, text in conditions
    ]


def _no_answer() -> list[ResponseMapper]:
    """Say why there is no answer of the provider, or of authz's own pages."""
    return [
        _mapper(
            [cel(f"{details_have(part)} && response.code >= 500")],
            "api_error",
            "provider_unreachable",
            f"The gateway got no answer: {reason}.",
        )
        for part, reason in NO_ANSWER
    ]


def details_have(part: str) -> str:
    """Return a CEL expression for answers of Envoy's own with this in their details."""
    return f'response.code_details.contains("{part}")'


def _mapper(
    conditions: list[AccessLogFilter],
    error_type: str,
    code: str,
    message: str,
    retry_after: int | None = None,
    status: int | None = None,
) -> ResponseMapper:
    body: dict[str, Anything] = responses.error_body(
        ErrorShape.ANY, error_type, code, message, REQUEST_ID
    )
    added = [REQUEST_ID_HEADER]
    if retry_after:
        added.append(set_header("retry-after", str(retry_after)))
    return ResponseMapper(
        filter=(
            conditions[0]
            if len(conditions) == 1
            else AccessLogFilter(and_filter=AndFilter(filters=conditions))
        ),
        status_code=status,
        body_format_override=SubstitutionFormatString(
            json_format=struct(body), content_type="application/json"
        ),
        headers_to_add=added,
    )


def status_is(op: ComparisonFilterOp, code: int) -> AccessLogFilter:
    """Match a status by comparison."""
    comparison = ComparisonFilter(
        op=op, value=RuntimeUInt32(default_value=code, runtime_key="authz.never_set")
    )
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _flag(flag: str) -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[flag]))


def not_from_authz(key: str) -> AccessLogFilter:
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
