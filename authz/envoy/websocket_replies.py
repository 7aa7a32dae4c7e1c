"""What a client is told when the provider itself has no WebSocket on a path.

Codex asks over HTTP at once after a 426; after any other status it tries six times more, which
takes 7 seconds (measured with Codex 0.169). A provider that knows nothing of WebSockets sees a
plain GET there, and answers that there is no such path or method.
"""

from envoy_data_plane.envoy.extensions.filters.http.custom_response.v3 import CustomResponse
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.custom_response.local_response_policy.v3 import (
    LocalResponsePolicy,
)
from envoy_data_plane.envoy.type.matcher.v3 import HttpResponseStatusCodeMatchInput
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherTree,
    MatcherMatcherTreeMatchMap,
    MatcherOnMatch,
)

from authz.envoy.packing import packed

WEBSOCKET_REPLIES = "envoy.filters.http.custom_response"
_NO_WEBSOCKET = ("404", "405", "501")


def websocket_replies() -> HttpFilter:
    """Return the filter, off except on routes with ``no_websocket_here``."""
    return HttpFilter(name=WEBSOCKET_REPLIES, typed_config=packed(CustomResponse()), disabled=True)


def no_websocket_here() -> Any:
    """Return a route's configuration: 404, 405 and 501 become 426, others pass as they came.

    The body is that of every answer of Envoy's own (``logging.local_replies``).
    """
    told = MatcherOnMatch(
        action=TypedExtensionConfig(
            name="upgrade_required", typed_config=packed(LocalResponsePolicy(status_code=426))
        )
    )
    tree = MatcherMatcherTree(
        input=TypedExtensionConfig(
            name="status", typed_config=packed(HttpResponseStatusCodeMatchInput())
        ),
        exact_match_map=MatcherMatcherTreeMatchMap(map=dict.fromkeys(_NO_WEBSOCKET, told)),
    )
    return packed(CustomResponse(custom_response_matcher=Matcher(matcher_tree=tree)))
