"""The proxy listener's answers when a tunnel can't be opened."""

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, ResponseFlagFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    ResponseMapper,
)

from authz.envoy.local_replies import json_reply
from authz.envoy.reply_texts import no_answer

_ALL_ADDRESSES_REFUSED = 'response.code_details == "dns_resolution_failure{address_denied}"'
_NOT_REACHED = ["DF", "UF", "UH", "URX"]
"""Envoy's flags for: no address, no connection, no host, no connection after retries."""


def tunnel_replies() -> list[ResponseMapper]:
    """Return mappers to try before those of every listener.

    As in Coder's proxy, a name with private addresses only is a 403, like one of these addresses
    itself, and a host that can't be reached a 502.
    """
    return [
        json_reply(
            _ALL_ADDRESSES_REFUSED,
            "permission_error",
            "private_address",
            "The host has a private address, which no tunnel goes to.",
            status=403,
        ),
        json_reply(
            AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=_NOT_REACHED)),
            "api_error",
            "host_unreachable",
            f"The host can't be reached{no_answer('')}.",
            status=502,
        ),
    ]
