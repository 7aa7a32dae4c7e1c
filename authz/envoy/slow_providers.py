"""Time-outs and outlier detection for providers that answer slowly or not at all.

A route and a cluster without these settings stay as they are.
"""

from copy import copy
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.common.matcher.v3 import MatchPredicate
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.route.v3 import RetryPolicy, Route
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsOutlierDetection,
)
from envoy_data_plane.envoy.type.v3 import Percent

from authz.config import outliers
from authz.config.settings import Provider
from authz.envoy.packing import struct
from authz.envoy.reply_texts import FACTS_NAMESPACE


def limit_waits(
    route: Route, provider: Provider, retries: RetryPolicy, *, is_websocket: bool = False
) -> None:
    """Set the time-outs of a route, and tell Envoy's own answers about them.

    Envoy counts ``per_try_timeout`` from the last byte of the request on, for each try, and ignores
    it once a response has begun. It does not repeat a request for it, unless ``reset`` is in the
    policy.

    Args:
        route: to the provider.
        provider: has the settings.
        retries: the policy of the virtual host, which a policy of the route takes the place of.
        is_websocket: the route is for WebSockets. They may be silent while a person thinks.
    """
    action = route.route
    if action is None:
        return
    facts = {}
    if provider.first_byte_timeout is not None:
        policy = copy(action.retry_policy or retries)
        policy.per_try_timeout = timedelta(seconds=provider.first_byte_timeout)
        action.retry_policy = policy
        facts["first_byte_timeout"] = str(provider.first_byte_timeout)
    if provider.idle_timeout is not None and not is_websocket:
        # Envoy's per_try_idle_timeout ends with per_try_timeout, even if a response has begun.
        action.idle_timeout = timedelta(seconds=provider.idle_timeout)
        facts["idle_timeout"] = str(provider.idle_timeout)
    if facts:
        route.metadata = Metadata(filter_metadata={FACTS_NAMESPACE: struct(facts)})


def detect_outliers(
    cluster: Cluster,
    options: HttpProtocolOptions,
    name: str,
    settings: outliers.OutlierDetection,
) -> None:
    """Let Envoy eject the provider's host when no request got an answer during an interval.

    A share of an interval and not a number of failures in a row: when a connection of HTTP/2
    breaks, all of its streams fail at once.

    Args:
        cluster: the provider's.
        options: its protocol options.
        name: of the provider.
        settings: when.
    """
    # A route may send a try to the cluster of a fallback provider, so the cluster has these facts.
    facts = {"provider": name, "retry_after": str(settings.retry_after)}
    cluster.metadata = Metadata(filter_metadata={FACTS_NAMESPACE: struct(facts)})
    ejection = timedelta(seconds=settings.ejection_time)
    cluster.outlier_detection = OutlierDetection(
        interval=timedelta(seconds=settings.interval),
        failure_percentage_threshold=100,
        failure_percentage_request_volume=settings.request_volume,
        failure_percentage_minimum_hosts=1,
        enforcing_failure_percentage=100,
        enforcing_consecutive_5xx=0,
        enforcing_consecutive_gateway_failure=0,
        enforcing_success_rate=0,
        base_ejection_time=ejection,
        # Clients are told when to come back, so it does not grow.
        max_ejection_time=ejection,
        # A provider is one host, whatever DNS says.
        max_ejection_percent=100,
    )
    # Above 0 Envoy would go on asking a host that is ejected, since there is no other.
    cluster.common_lb_config = ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0))
    # A response of any status is an answer. With 500 counted as a failure, a person with a request
    # that a provider can't take would close it for everyone.
    options.outlier_detection = HttpProtocolOptionsOutlierDetection(
        error_matcher=MatchPredicate(not_match=MatchPredicate(any_match=True))
    )
