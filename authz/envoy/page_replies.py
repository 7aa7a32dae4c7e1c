"""The body of an answer that Envoy makes itself to a browser on a page."""

from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    ResponseMapper,
)

from authz.envoy.early_refusals import cel
from authz.envoy.packing import set_header
from authz.envoy.reply_texts import choice

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Those of the pages, as far as a text without styles needs them."""

_FAILED = "response.code >= 500"
_TITLE = choice(
    _FAILED, "This page can't be made at the moment", "The gateway can't serve this address"
)
_TEXT = choice(
    _FAILED,
    "The gateway got no answer from authz. Wait a little and reload.",
    "Check the address, or go to the <a href='/ui/'>start</a>.",
)
# %RESPONSE_CODE% is a number; nothing of the request is quoted.
_BODY = (
    "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
    "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    f"<title>{_TITLE} - authz</title></head>"
    f"<body><h1>{_TITLE}</h1><p>{_TEXT} (%RESPONSE_CODE%)</p></body></html>\n"
)


def page_reply() -> ResponseMapper:
    """Return what a browser gets where Envoy can't ask authz for a page, or refuses a request.

    ``Accept`` tells a browser from the clients of a provider that is named as the pages' path.
    """
    is_page = 'request.path.matches("^/ui([/?].*)?$")'
    is_browser = 'request.headers["accept"].contains("text/html")'
    return ResponseMapper(
        filter=cel(f"response.code >= 400 && {is_page} && {is_browser}"),
        body_format_override=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=_BODY),
            content_type="text/html; charset=utf-8",
        ),
        headers_to_add=[set_header(name, value) for name, value in _HEADERS.items()],
    )
