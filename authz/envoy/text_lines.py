"""The access log for people: a short line of text for each request."""

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilterOp,
    HeaderFilter,
    OrFilter,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog

from authz.config.settings import Config
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.local_replies import from_authz, not_from_authz, status_is
from authz.envoy.packing import exactly, packed
from authz.usage.names import TOKEN_USAGE

FOUND = f"metadata.typed_filter_metadata['{TOKEN_USAGE}']"
"""The expression for Envoy's TokenUsage."""

_USUAL = f"size({FOUND}.model) <= 64 && {FOUND}.model.matches('^[!-~]+$')"
_MODEL = f"%TYPED_CEL({_USUAL} ? {FOUND}.model : '-')%"
"""For lines of text, which escape nothing; the provider chooses the name."""


def of_authz(key: str) -> str:
    """Return the format of a field of authz's metadata."""
    return f"%DYNAMIC_METADATA({EXT_AUTHZ}:{key})%"


def text_lines(config: Config) -> list[AccessLog]:
    """Return the log for people: a short line for each request, none for health checks.

    No part of a line can be more than a word or hold a control character: the path and the user are
    as authz has written them, and a model's name is left out where it is no usual one.
    """
    model = f"{_MODEL} " if config.usage.enabled else ""
    end = f"%RESPONSE_CODE% {of_authz('user')} {model}%DURATION% ms\n"
    # `authz up` asks for `/` without a token to see whether a check is answered.
    is_no_probe = any_of(_path_is_not("/"), status_is(ComparisonFilterOp.NE, 401))
    asked = [from_authz("path"), is_no_probe]
    others = [not_from_authz("path"), _path_is_not("/readyz"), _path_is_not("/healthz")]
    return [
        _text_line(f"%REQ(:METHOD)% {of_authz('path')} {end}", asked),
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


def any_of(*filters: AccessLogFilter) -> AccessLogFilter:
    """Match where one of the filters matches."""
    return AccessLogFilter(or_filter=OrFilter(filters=list(filters)))
