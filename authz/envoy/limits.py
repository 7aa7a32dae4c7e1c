"""Requests per minute of each user, by Envoy's local rate limit.

A token whose user the identity source does not tell is its own user, named by the token's id.
"""

import math
from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    RateLimit,
    RateLimitAction,
    RateLimitActionMetaData,
    RateLimitActionMetaDataSource,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
)
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.metadata.v3 import MetadataKey, MetadataKeyPathSegment
from envoy_data_plane.envoy.type.v3 import TokenBucket

from authz.check.ext_authz import METADATA_NAMELESS, METADATA_NAMESPACE
from authz.config.limits import Limits
from authz.envoy.packing import always, packed, set_header

_USER = "user"
_USERS_MAX = 10_000
"""Envoy keeps the buckets of this many users; then the one idle longest gets a full one again."""
_SHORTEST_SECONDS = 0.05
"""Envoy fills a bucket at most this often."""
_UNLIMITED = TokenBucket(
    max_tokens=2**32 - 1, tokens_per_fill=2**32 - 1, fill_interval=timedelta(seconds=1)
)


def rate_limit(limits: Limits) -> HttpFilter:
    """Return the filter: behind ext_authz, which says whose request it is.

    Args:
        limits: with at least one limit.
    """
    descriptors = [_descriptor(name, rate) for name, rate in sorted(limits.users.items())]
    if limits.requests_per_minute is not None:
        # Without a value: a bucket for each user who is not named.
        descriptors.append(_descriptor("", limits.requests_per_minute))
    rate_limits = [_limited_by(_USER)]
    if limits.requests_per_minute is None:
        # Such a token may be that of any user who is named: it has the least of their limits.
        descriptors.append(_descriptor("", _least(limits), key=METADATA_NAMELESS))
        rate_limits.append(_limited_by(METADATA_NAMELESS))
    config = LocalRateLimit(
        stat_prefix="users",
        # Requests without a user, such as /healthz, take from this one.
        token_bucket=_UNLIMITED,
        always_consume_default_token_bucket=False,
        filter_enabled=always(),
        filter_enforced=always(),
        descriptors=descriptors,
        max_dynamic_descriptors=_USERS_MAX,
        rate_limits=rate_limits,
        response_headers_to_add=[set_header("retry-after", str(_retry_after(limits)))],
    )
    return HttpFilter(name="envoy.filters.http.local_ratelimit", typed_config=packed(config))


def _limited_by(name: str) -> RateLimit:
    metadata = RateLimitActionMetaData(
        descriptor_key=name,
        metadata_key=MetadataKey(key=METADATA_NAMESPACE, path=[MetadataKeyPathSegment(key=name)]),
        source=RateLimitActionMetaDataSource.DYNAMIC,
        skip_if_absent=True,
    )
    return RateLimit(actions=[RateLimitAction(metadata=metadata)])


def _descriptor(value: str, rate: int | None, key: str = _USER) -> LocalRateLimitDescriptor:
    return LocalRateLimitDescriptor(
        entries=[RateLimitDescriptorEntry(key=key, value=value)],
        token_bucket=_UNLIMITED if rate is None else _bucket(rate),
    )


def _bucket(rate: int) -> TokenBucket:
    """Hold a minute's requests, and get one back as soon as there is room for it."""
    seconds = max(60 / rate, _SHORTEST_SECONDS)
    return TokenBucket(
        max_tokens=rate,
        tokens_per_fill=max(1, round(rate * seconds / 60)),
        fill_interval=timedelta(seconds=seconds),
    )


def _least(limits: Limits) -> int:
    rates = [limits.requests_per_minute, *limits.users.values()]
    return min(rate for rate in rates if rate is not None)


def _retry_after(limits: Limits) -> int:
    return math.ceil(60 / _least(limits))
