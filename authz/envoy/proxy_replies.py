"""What the proxy listener answers when a tunnel can't be opened."""

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ResponseFlagFilter,
)
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    ResponseMapper,
)

from authz.check import responses
from authz.core.providers import ErrorShape
from authz.envoy.early_refusals import cel
from authz.envoy.local_replies import REQUEST_ID, REQUEST_ID_HEADER, details_have
from authz.envoy.packing import struct
from authz.envoy.reply_texts import NO_ANSWER

_ALL_ADDRESSES_REFUSED = 'response.code_details == "dns_resolution_failure{address_denied}"'
_NOT_REACHED = ["DF", "UF", "UH", "URX"]
"""Envoy's flags for: no address, no connection, no host, no connection after retries."""

_UNREACHABLE = (502, "api_error", "host_unreachable")
_SAID = "The host can't be reached"


def tunnel_replies() -> list[ResponseMapper]:
    """Return mappers to try before those of every listener.

    A name with none but private addresses is a 403 as one of them is, what can't be reached a 502
    (``coder-contract.md`` 4.6).
    """
    refused = cel(_ALL_ADDRESSES_REFUSED)
    not_reached = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=_NOT_REACHED))
    return [
        _mapper(
            refused,
            403,
            "permission_error",
            "private_address",
            "The host has a private address, which no tunnel goes to.",
        ),
        *(
            _mapper(_both(not_reached, details_have(part)), *_UNREACHABLE, f"{_SAID}: {reason}.")
            for part, reason in NO_ANSWER
        ),
        _mapper(not_reached, *_UNREACHABLE, f"{_SAID}."),
    ]


def _both(condition: AccessLogFilter, expression: str) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=[condition, cel(expression)]))


def _mapper(
    condition: AccessLogFilter, status: int, error_type: str, code: str, message: str
) -> ResponseMapper:
    body = responses.error_body(ErrorShape.ANY, error_type, code, message, REQUEST_ID)
    return ResponseMapper(
        filter=condition,
        status_code=status,
        body_format_override=SubstitutionFormatString(
            json_format=struct(body), content_type="application/json"
        ),
        headers_to_add=[REQUEST_ID_HEADER],
    )
