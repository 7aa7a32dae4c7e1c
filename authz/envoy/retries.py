"""Further tries of a request with the next central key, after a refusal of the provider.

The answer of authz says how many tries there may be and with which keys (``check/ext_authz.py``);
without it nothing here acts. Routes pass the number on to Envoy's router. Filters in the provider's
cluster run for each try: one keeps the status of a refusal, the other, on the next try, sets the
next key and tells authz of the refused one.
"""

from collections.abc import Callable, Collection, Sequence

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValueOption,
)
from envoy_data_plane.envoy.config.route.v3 import ClusterSpecifierPlugin, RetryPolicy
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.router.cluster_specifiers.matcher.v3 import (
    ClusterAction,
    MatcherClusterSpecifier,
)
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtension

from authz.check.ext_authz import (
    CONTEXT_FALLBACKS,
    CONTEXT_RETRIES,
    METADATA_FIRST_PROVIDER,
    METADATA_NAMESPACE,
    METADATA_RETRIES,
    METADATA_RETRY_STATUSES,
)
from authz.check.route_facts import destination
from authz.config.settings import Config, Provider
from authz.core.providers import AllowedPath
from authz.envoy.matchers import filter_state_is, first_match, xds_extension
from authz.envoy.packing import extension, packed, set_header
from authz.envoy.retry_matchers import (
    lua_if,
    lua_on_a_refusal,
    show_request_on_a_refusal,
)
from authz.envoy.retry_scripts import (
    NOT_RETRIED,
    STATE,
    TO_PROVIDER,
    begin_at_first_provider,
    keep_refusal,
    next_key,
)

MAX_RETRIES_HEADER = "x-envoy-max-retries"
STATUSES_HEADER = "x-envoy-retriable-status-codes"
"""Envoy's router takes both from a request and removes them. Those of a client never get there."""

BEGIN_ELSEWHERE = "authz.begin_elsewhere"
_ON_STATUSES = "retriable-status-codes"


def has_retries(config: Config, provider: Provider) -> bool:
    """Return whether requests to a provider's cluster may be further tries."""
    is_fallback = any(provider.name in one.fallback for one in config.providers)
    return _has_more(provider) or is_fallback


def has_fallbacks(config: Config) -> bool:
    """Return whether any provider has a fallback provider."""
    return any(provider.fallback for provider in config.providers)


def retry_buffer(config: Config) -> int:
    """Return how many bytes of a request's body Envoy keeps to send it again.

    It streams a larger body and does not retry it.
    """
    return config.envoy.max_retry_body_kib * 1024


def retry_facts(
    provider: Provider, path: AllowedPath, others: Sequence[Provider]
) -> dict[str, str]:
    """Return what a route tells authz, so that it names further keys; empty where it has none.

    Args:
        provider: of the route.
        path: like those of the route.
        others: the fallback providers of the route.
    """
    if not _is_retried(provider, path):
        return {}
    words = " ".join(map(destination, others))
    return {CONTEXT_RETRIES: "true", **({CONTEXT_FALLBACKS: words} if words else {})}


def retry_headers(provider: Provider, path: AllowedPath) -> list[HeaderValueOption]:
    """Return the headers by which authz's answer allows retries of one request.

    Without the metadata they are empty, and Envoy sets no empty header.
    """
    if not _is_retried(provider, path):
        return []
    return [
        set_header(name, f"%DYNAMIC_METADATA({METADATA_NAMESPACE}:{key})%")
        for name, key in (
            (MAX_RETRIES_HEADER, METADATA_RETRIES),
            (STATUSES_HEADER, METADATA_RETRY_STATUSES),
        )
    ]


def hidden_headers(provider: Provider, path: AllowedPath) -> list[str]:
    """Return the response headers that are for Envoy's router alone."""
    return [NOT_RETRIED] if _is_retried(provider, path) else []


def with_refusals(
    provider: Provider, path: AllowedPath, policy: RetryPolicy, *, elsewhere: bool
) -> RetryPolicy | None:
    """Return a policy that heeds the statuses in a request too; None where it needs none.

    It names no status itself, so that it changes nothing for a request that authz does not allow
    to be retried.

    Args:
        provider: of the route.
        path: like those of the route.
        policy: the route's without this.
        elsewhere: whether a try may go to a fallback provider.
    """
    if not _is_retried(provider, path):
        return None
    return RetryPolicy(
        retry_on=f"{policy.retry_on},{_ON_STATUSES}",
        num_retries=policy.num_retries,
        refresh_cluster_on_retry=elsewhere,
    )


def is_sent_elsewhere(provider: Provider, path: AllowedPath) -> bool:
    """Return whether requests to a path may go to a fallback provider.

    Every provider of a type has the paths of models. Others, such as those of stored responses,
    lead to what one provider has and the other has not.
    """
    is_of_type = any(path.pattern == one.pattern for one in provider.provider_type.paths)
    return bool(provider.fallback) and _is_retried(provider, path) and path.inference and is_of_type


def fallbacks(config: Config, provider: Provider) -> list[Provider]:
    """Return the fallback providers of a provider, in order."""
    named = {one.name: one for one in config.providers}
    return [named[name] for name in provider.fallback]


def choose_cluster(
    provider: Provider, others: Sequence[Provider], cluster_of: Callable[[Provider], str]
) -> ClusterSpecifierPlugin:
    """Return how a route finds the cluster of each try.

    Args:
        provider: whose cluster is for a request without the filter state.
        others: its fallback providers on this route.
        cluster_of: returns the name of a provider's cluster.
    """

    def send_to(one: Provider) -> XdsExtension:
        return xds_extension("cluster", ClusterAction(cluster=cluster_of(one)))

    tree = first_match(
        [(filter_state_is(TO_PROVIDER, destination(one)), send_to(one)) for one in others],
        send_to(provider),
    )
    return ClusterSpecifierPlugin(
        extension=extension(
            "envoy.router.cluster_specifier_plugin.matcher",
            MatcherClusterSpecifier(cluster_matcher=tree),
        )
    )


def begin_elsewhere() -> HttpFilter:
    """Return the filter that sends a request to a fallback provider at once, as authz says.

    It is on for routes with fallback providers only.
    """
    config = lua_if([(METADATA_NAMESPACE, METADATA_FIRST_PROVIDER)], begin_at_first_provider())
    return HttpFilter(name=BEGIN_ELSEWHERE, typed_config=packed(config), disabled=True)


def retry_filters(
    config: Config, provider: Provider, clusters: Collection[str]
) -> list[HttpFilter]:
    """Return the filter chain of a provider's cluster.

    Args:
        config: names the providers whose requests may come here.
        provider: of the cluster.
        clusters: of the processes of authz, each of which is told of a refused key.
    """
    origins = [one for one in config.providers if provider.name in one.fallback]
    names = {provider.name, *(one.name for one in origins)}
    # A request may come from another fallback provider of the same one.
    names.update(name for one in origins for name in one.fallback)
    places = [one for one in config.providers if one.name in names]
    script, keep = next_key(provider, places, clusters), keep_refusal(retry_buffer(config))
    starts = [(STATE, "status"), (METADATA_NAMESPACE, METADATA_FIRST_PROVIDER)]
    return [
        HttpFilter(name="authz.next_key", typed_config=packed(lua_if(starts, script))),
        HttpFilter(name="authz.keep_refusal", typed_config=packed(lua_on_a_refusal(keep))),
        # A response passes the filters from the last to the first.
        HttpFilter(name="authz.show_request", typed_config=packed(show_request_on_a_refusal())),
        HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=packed(UpstreamCodec())),
    ]


def _has_more(provider: Provider) -> bool:
    return (provider.retry_keys and len(provider.keys) > 1) or bool(provider.fallback)


def _is_retried(provider: Provider, path: AllowedPath) -> bool:
    return _has_more(provider) and path.central_key and not path.own_only
