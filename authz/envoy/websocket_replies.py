"""The answer to a client when the provider itself has no WebSocket on a path.

Codex asks over HTTP at once after a 426; after any other status it tries six times more, which
takes 7 seconds (measured with Codex 0.169). A provider that knows nothing of WebSockets sees a
plain GET there, and answers that there is no such path or method.
"""

from envoy_data_plane.envoy.extensions.filters.http.custom_response.v3 import CustomResponse
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.custom_response.local_response_policy.v3 import (
    LocalResponsePolicy,
)
from envoy_data_plane.google.protobuf import Any

from authz.envoy.matchers import first_match, status_is_among, xds_extension
from authz.envoy.packing import packed

WEBSOCKET_REPLIES = "envoy.filters.http.custom_response"
_NO_WEBSOCKET = (404, 405, 501)


def websocket_replies() -> HttpFilter:
    """Return the filter: 404, 405 and 501 become 426, others pass as they came.

    It is off except on routes with ``no_websocket_here``. The body is that of every answer of
    Envoy's own (``local_replies``).
    """
    upgrade = xds_extension("upgrade_required", LocalResponsePolicy(status_code=426))
    matcher = first_match([(status_is_among(_NO_WEBSOCKET), upgrade)])
    return HttpFilter(
        name=WEBSOCKET_REPLIES,
        typed_config=packed(CustomResponse(custom_response_matcher=matcher)),
        disabled=True,
    )


def no_websocket_here() -> Any:
    """Return what switches the filter on for a route."""
    return packed(CustomResponse())
