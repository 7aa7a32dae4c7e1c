"""The bodies of answers that Envoy makes itself to a browser on the page."""

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.envoy.packing import regex, set_header

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""As the page's own answers have them, as far as a text without styles needs them."""


def page_replies(condition: AccessLogFilter) -> list[ResponseMapper]:
    """Return what a browser sees where Envoy can't ask authz for a page, or refuses a request.

    ``Accept`` tells a browser from the clients of a provider that is named as the page's path.

    Args:
        condition: matches the answers that are Envoy's own.
    """
    return [
        _mapper(
            condition,
            500,
            "This page can't be made at the moment",
            "The gateway got no answer from authz. Wait a little and reload.",
        ),
        _mapper(
            condition,
            400,
            "The gateway can't serve this address",
            "Check the address, or go to the <a href='/ui/'>start</a>.",
        ),
    ]


def _mapper(condition: AccessLogFilter, from_status: int, title: str, text: str) -> ResponseMapper:
    # %RESPONSE_CODE% is a number; nothing of the request is quoted.
    body = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title} - authz</title></head>"
        f"<body><h1>{title}</h1><p>{text} (%RESPONSE_CODE%)</p></body></html>\n"
    )
    return ResponseMapper(
        filter=AccessLogFilter(
            and_filter=AndFilter(
                filters=[
                    condition,
                    _header(":path", StringMatcher(safe_regex=regex(r"/ui(?:[/?].*)?"))),
                    _header("accept", StringMatcher(contains="text/html")),
                    AccessLogFilter(
                        status_code_filter=StatusCodeFilter(
                            comparison=ComparisonFilter(
                                op=ComparisonFilterOp.GE,
                                value=RuntimeUInt32(
                                    default_value=from_status, runtime_key="authz.never_set"
                                ),
                            )
                        )
                    ),
                ]
            )
        ),
        body_format_override=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=body),
            content_type="text/html; charset=utf-8",
        ),
        headers_to_add=[set_header(name, value) for name, value in _HEADERS.items()],
    )


def _header(name: str, matcher: StringMatcher) -> AccessLogFilter:
    return AccessLogFilter(
        header_filter=HeaderFilter(header=HeaderMatcher(name=name, string_match=matcher))
    )
