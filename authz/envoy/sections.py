"""The sections of the written configuration: order, comments, and names of what repeats.

Keys and names are those of Envoy's configuration.
"""

import re
from typing import Any

from authz.check.ext_authz import CONTEXT_BASE_URL, CONTEXT_PROVIDER, CONTEXT_SUPPORTED
from authz.envoy.anonymous import DELAY, RATE_LIMIT
from authz.envoy.filters import EXT_AUTHZ, SESSION_FILTER

FIRST = ("@type", "static_resources", "name", "listeners", "stat_prefix", "address")
"""Keys that are written first where they occur."""

LAST = (
    "filter_chains",
    "http_filters",
    "route_config",
    "local_reply_config",
    "access_log",
    "clusters",
    "overload_manager",
    "layered_runtime",
    "admin",
    "node",
)
"""Keys that are written last where they occur, in this order."""

COMMENTS = {
    "listeners": "1. The listener: clients connect here.",
    "common_http_protocol_options": (
        "2. The connection manager: limits of an edge proxy, and one form of each path."
    ),
    "http_filters": "3. The filters, in the order in which a request passes them.",
    "http_filters/envoy.filters.http.local_ratelimit.anonymous": (
        "Mark the requests of an address that sends many; on for paths without a token only."
    ),
    "http_filters/envoy.filters.http.fault": "Delay what is marked.",
    "http_filters/envoy.filters.http.set_filter_state": (
        "Keep the request id for the access log; it is removed from the request below."
    ),
    "http_filters/envoy.filters.http.rbac": (
        "Refuse headers that would exceed Envoy's limits once authz adds its own."
    ),
    "http_filters/envoy.filters.http.body_size_limit": (
        "Limit the requests that the next filter holds; on for providers with rules for models."
    ),
    "http_filters/envoy.filters.http.ai_protocol_manager.request": (
        "Read the model out of the body, for the check."
    ),
    "http_filters/envoy.filters.http.header_to_metadata": (
        "Read the model out of the path, where it is there."
    ),
    "http_filters/envoy.filters.http.ext_authz": (
        "Ask authz: whose token is this, may it pass, with which credential? A failure is a 503."
    ),
    "http_filters/envoy.filters.http.header_mutation": (
        "Remove what only Envoy may say, and what says where a request came from."
    ),
    "http_filters/envoy.filters.http.header_mutation.session": (
        "Remove cookies and Coder's session; off for authz's own API and pages."
    ),
    "http_filters/envoy.filters.http.custom_response": (
        "Turn a provider's 404 to a WebSocket into a 426; on for WebSocket routes only."
    ),
    "http_filters/envoy.filters.http.ai_protocol_manager": (
        "Read the token usage out of the provider's answer."
    ),
    "route_config": (
        "4. The routes. The matcher finds the provider by the path's first segment, so the cost of"
        "\na request does not grow with the number of providers; then the first match in the list"
        "\nserves. context_extensions tell authz what a route leads to."
    ),
    "on_no_match": "Everything else: health, authz's pages and API, and 404 for the rest.",
    "local_reply_config": "5. The bodies of the answers that Envoy makes itself; the first match.",
    "access_log": "6. The access logs: lines for people and programs, and records for authz.",
    "clusters": "7. The clusters: authz first, then the providers.",
    "overload_manager": "Limits on memory and connections: refuse requests before memory runs out.",
    "layered_runtime": "Room for the patterns of routes; RE2 takes linear time.",
    "admin": "Envoy's own interface; by default on a socket that only this user can open.",
    "node": "Watched files (SDS) demand a name.",
}
"""By key, or by list and name of an item; each comment is written once."""

_NAMES = {
    "cluster_type": "by_dns",
    "circuit_breakers": "limits",
    "load_balancing_policy": "least_busy",
    "regex_rewrite": "{owner} path",
    "input": "{owner}",
    "headers_to_add": "request id",
    "request_headers_to_add": "peer",
}
"""Parts that are written once if they repeat, and their names, in which ``{owner}`` stands for the
name of the nearest part around them."""


def anchor_name(key: str, owner: str, value: Any) -> str | None:
    """Return the name of a part that is written once if it repeats; None for other parts.

    Args:
        key: of the part.
        owner: the name of the nearest part around it that has one.
        value: the part.
    """
    name = _NAMES.get(key, "").format(owner=owner.split(" ")[0])
    if key.startswith("/"):
        # A branch of the matcher tree, by its prefix.
        name = key.rpartition("/")[2]
    elif key == "route" and isinstance(value, dict):
        name = f"to {value.get('cluster', '')}"
    elif key == "typed_extension_protocol_options":
        name = " or ".join(sorted(set(re.findall("(http2?)_protocol_options'", str(value)))))
    elif key == EXT_AUTHZ:
        name = _check_name(value)
    elif key in (DELAY, RATE_LIMIT):
        name = "slow down"
    elif key == "typed_per_filter_config" and SESSION_FILTER in value:
        name = "own check"
    return re.sub("[^a-z0-9]+", "_", name.lower()) or None


def _check_name(per_route: dict[str, Any]) -> str:
    """Name what a route says about the check by what authz is told."""
    if "check_settings" not in per_route:
        return "no check"
    told = dict(per_route["check_settings"]["context_extensions"])
    provider, supported = told.pop(CONTEXT_PROVIDER, "any"), told.pop(CONTEXT_SUPPORTED, "")
    told.pop(CONTEXT_BASE_URL, None)
    words = {"true": ["served"], "false": ["not served"]}.get(supported, [supported])
    return " ".join([provider, *words, *told])
