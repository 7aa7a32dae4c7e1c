"""A delay for clients that call paths without a token too often.

These paths have no check, so authz can't refuse there and delays no refusal. The filters are off on
all other routes, and cost a request to a provider nothing.
"""

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    FilterConfig,
    HeaderMatcher,
    RateLimit,
    RateLimitAction,
    RateLimitActionMaskedRemoteAddress,
    Route,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
)
from envoy_data_plane.envoy.extensions.filters.common.fault.v3 import FaultDelay
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket
from envoy_data_plane.google.protobuf import Any

from authz.envoy.packing import always, packed, seconds, set_header

RATE_LIMIT = "envoy.filters.http.local_ratelimit.anonymous"
DELAY = "envoy.filters.http.fault"

BURST, A_SECOND = 100, 50
"""The requests of one address that are not delayed: at once, and in each further second."""
BURST_OF_ALL, A_SECOND_OF_ALL = 1_000, 500
"""The same for all addresses together."""
DELAY_SECONDS = 0.5
"""Less than the second that a health check waits, as it may share its address with a flood."""
_MAX_DELAYED = 4096
_ADDRESSES_MAX = 10_000
"""Envoy keeps the buckets of this many addresses; then the one idle longest gets a full one."""
_IPV6_PREFIX = 64
"""One customer of a network has at least as many addresses of IPv6."""
_MARK = "x-authz-too-many"


def anonymous_filters() -> list[HttpFilter]:
    """Return the filters: one marks requests beyond the limit, and one delays those."""
    return [
        HttpFilter(name=RATE_LIMIT, typed_config=packed(_marks()), disabled=True),
        HttpFilter(name=DELAY, typed_config=packed(_delay()), disabled=True),
    ]


def slow_down(route: Route) -> Route:
    """Switch the filters on for a route whose callers need no token."""
    for name in (RATE_LIMIT, DELAY):
        # An empty configuration is that of the filter, whose buckets all routes share.
        route.typed_per_filter_config[name] = packed(FilterConfig(config=Any()))
    if route.direct_response is None:
        route.request_headers_to_remove.append(_MARK)
    return route


def _marks() -> LocalRateLimit:
    address = RateLimitActionMaskedRemoteAddress(
        v4_prefix_mask_len=32, v6_prefix_mask_len=_IPV6_PREFIX
    )
    return LocalRateLimit(
        stat_prefix="anonymous",
        token_bucket=_bucket(BURST_OF_ALL, A_SECOND_OF_ALL),
        filter_enabled=always(),
        # Not enforced: a request beyond the limit is marked, and served.
        request_headers_to_add_when_not_enforced=[set_header(_MARK, "1")],
        # Without a value: a bucket for each address.
        descriptors=[
            LocalRateLimitDescriptor(
                entries=[RateLimitDescriptorEntry(key="masked_remote_address")],
                token_bucket=_bucket(BURST, A_SECOND),
            )
        ],
        max_dynamic_descriptors=_ADDRESSES_MAX,
        rate_limits=[RateLimit(actions=[RateLimitAction(masked_remote_address=address)])],
    )


def _delay() -> HttpFault:
    return HttpFault(
        delay=FaultDelay(
            fixed_delay=seconds(DELAY_SECONDS), percentage=FractionalPercent(numerator=100)
        ),
        # A client that sends the mark itself waits.
        headers=[HeaderMatcher(name=_MARK, present_match=True)],
        max_active_faults=_MAX_DELAYED,
        disable_downstream_cluster_stats=True,
    )


def _bucket(burst: int, a_second: int) -> TokenBucket:
    part = 10
    return TokenBucket(
        max_tokens=burst,
        tokens_per_fill=a_second // part,
        fill_interval=timedelta(seconds=1 / part),
    )
