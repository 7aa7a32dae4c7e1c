"""The routes to one provider: its listed paths, WebSockets, and a 404 for the rest."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import groupby

from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteActionMaxStreamDuration,
    RouteActionUpgradeConfig,
    RouteMatch,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.check.ext_authz import CONTEXT_KIND, KIND_AUTHZ, METADATA_NAMESPACE
from authz.check.route_facts import has_actor, removed_headers, route_facts, websocket_paths
from authz.config.settings import Config, Provider
from authz.core.header_names import ACTOR_ID, ACTOR_NAME
from authz.core.providers import AllowedPath, ModelPlace
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.mounts import Mount
from authz.envoy.open_streams import watched
from authz.envoy.packing import exactly, packed, packed_context, regex, set_header
from authz.envoy.reading_routes import reading
from authz.envoy.retries import (
    BEGIN_ELSEWHERE,
    choose_cluster,
    fallbacks,
    hidden_headers,
    is_sent_elsewhere,
    retry_facts,
    retry_headers,
    with_refusals,
)
from authz.envoy.slow_providers import limit_waits
from authz.envoy.websocket_replies import WEBSOCKET_REPLIES, no_websocket_here

# Nothing of the request has reached the provider when one of these happens, so that no answer is
# paid for twice.
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"
RETRIES = RetryPolicy(retry_on=_RETRY_ON, num_retries=1)
"""The retries of a virtual host that leads to providers."""
_READ_RETRIES = RetryPolicy(retry_on=f"{_RETRY_ON},reset", num_retries=1)
"""Reading is free, so a GET is also sent again when its connection closes without an answer."""
ACTOR_HEADERS = {ACTOR_ID: "user_id", ACTOR_NAME: "user"}
"""By header, the field of authz's answer with its value."""

_CLIMBING = r"(?:\.\.|%(?:25|2[fF]|5[cC]))"
_UPGRADE = HeaderMatcher(
    name="upgrade", string_match=StringMatcher(exact="websocket", ignore_case=True)
)


def provider_routes(provider: Provider, mount: Mount, config: Config) -> list[Route]:
    """Return the routes of a provider; the first match serves.

    Args:
        provider: which.
        mount: where its paths are.
        config: says how long a WebSocket may live, since it outlives a revocation, and whether
            models are told who asks.
    """
    return [
        *listed_routes(provider, mount, config),
        # The matcher tree selects these routes for the provider's own paths alone.
        not_served(provider, RouteMatch(prefix="/")),
    ]


def listed_routes(provider: Provider, mount: Mount, config: Config) -> list[Route]:
    """Return the routes of what a provider lists; those for the rest are to follow.

    The first routes refuse WebSockets on every listed path, so the others need not.
    """
    refused = [*provider.paths, *websocket_paths(provider)]
    # The patterns of these rule out climbing themselves.
    before = [path for path in provider.paths if path.escaped_slash]
    after = [path for path in provider.paths if not path.escaped_slash]
    return [
        *_websocket_routes(provider, mount, config),
        no_websocket(provider, mount, refused),
        *served(provider, mount, config, before),
        not_climbing(provider, mount),
        *served(provider, mount, config, after),
    ]


def not_climbing(provider: Provider, mount: Mount) -> Route:
    """Refuse paths that could leave the allowed ones.

    Envoy has normalized the path once, escaped slashes apart. Behind it may be a server that
    decodes and normalizes once more, for which these would leave the allowed paths.
    """
    pattern = f"{mount.prefix}/.*{_CLIMBING}.*"
    return not_served(provider, RouteMatch(safe_regex=regex(pattern)))


def provider_cluster(provider: Provider) -> str:
    """Return the name of a provider's cluster."""
    return f"provider_{provider.name}"


def websocket_cluster(provider: Provider) -> str:
    """Return the name of a provider's cluster for WebSockets."""
    return f"provider_{provider.name}_websocket"


def method_is(*methods: str) -> HeaderMatcher:
    """Match requests with one of these methods."""
    matcher = (
        exactly(methods[0])
        if len(methods) == 1
        else StringMatcher(safe_regex=regex("|".join(methods)))
    )
    return HeaderMatcher(name=":method", string_match=matcher)


def served(
    provider: Provider, mount: Mount, config: Config, paths: Sequence[AllowedPath]
) -> list[Route]:
    """Return routes; consecutive paths that differ in their pattern only share one."""
    is_read = config.reads_requests_to(provider)
    if is_read:
        paths = [part for path in paths for part in path.by_model()]

    def key(path: AllowedPath) -> tuple[AllowedPath, bool]:
        like = replace(path, pattern="", inference=path.inference and config.send_actor_headers)
        if not is_read:
            like = replace(like, model=ModelPlace.UNKNOWN, model_in_path="")
        return like, is_sent_elsewhere(provider, path)

    routes = []
    for (like, has_fallback), group in groupby(paths, key):
        action = _to_provider(provider, mount, like, provider_cluster(provider))
        keyless = " keyless" if like.keyless else ""
        if _reads(like):
            action.retry_policy = _READ_RETRIES
        elsewhere: dict[str, Any] = {}
        others = fallbacks(config, provider) if has_fallback else []
        if others:
            action.cluster = None
            action.inline_cluster_specifier_plugin = choose_cluster(
                provider, others, provider_cluster
            )
            elsewhere = {BEGIN_ELSEWHERE: packed(FilterConfig(config=Any()))}
        policy = action.retry_policy or RETRIES
        if retried := with_refusals(provider, like, policy, elsewhere=has_fallback):
            action.retry_policy = retried
        facts = route_facts(provider, like) | retry_facts(provider, like, others)
        route = Route(
            name=f"{provider.name} {'|'.join(like.methods)}{keyless}",
            match=RouteMatch(
                safe_regex=regex(mount.prefix + _any_of([mount.pattern(p) for p in group])),
                headers=[method_is(*like.methods)],
            ),
            route=action,
            request_headers_to_add=[
                *_actor_headers(config, like),
                *retry_headers(provider, like),
            ],
            request_headers_to_remove=removed_headers(provider, config, like),
            response_headers_to_remove=hidden_headers(provider, like),
            typed_per_filter_config={
                EXT_AUTHZ: packed_context(facts),
                **elsewhere,
                **watched(config, facts),
            },
        )
        limit_waits(route, provider, RETRIES)
        routes += reading(route, facts, like, config) if is_read else [route]
    return routes


def no_websocket(provider: Provider, mount: Mount, paths: Sequence[AllowedPath]) -> Route:
    """Refuse a WebSocket at once: Codex falls back after one try on a 426 only."""
    patterns = list(dict.fromkeys(mount.pattern(path) for path in paths))
    return Route(
        name=f"{provider.name} no WebSocket",
        match=RouteMatch(safe_regex=regex(mount.prefix + _any_of(patterns)), headers=[_UPGRADE]),
        direct_response=DirectResponseAction(status=426),
        typed_per_filter_config={EXT_AUTHZ: packed_context({CONTEXT_KIND: KIND_AUTHZ})},
    )


def _websocket_routes(provider: Provider, mount: Mount, config: Config) -> list[Route]:
    """Serve WebSockets, if the provider has them."""
    # Envoy reads no frames, so it can't know the model there. Clients fall back to HTTP.
    if not provider.websockets or config.reads_requests_to(provider):
        return []
    paths = websocket_paths(provider)
    action = _to_provider(provider, mount, paths[0], websocket_cluster(provider))
    action.retry_policy = RetryPolicy()
    action.upgrade_configs = [RouteActionUpgradeConfig(upgrade_type="websocket")]
    action.max_stream_duration = RouteActionMaxStreamDuration(
        max_stream_duration=timedelta(seconds=config.envoy.websocket_timeout)
    )
    route = Route(
        name=f"{provider.name} WebSocket",
        match=RouteMatch(
            safe_regex=regex(mount.prefix + _any_of([mount.pattern(p) for p in paths])),
            headers=[method_is("GET"), _UPGRADE],
        ),
        route=action,
        request_headers_to_add=_actor_headers(config, paths[0]),
        typed_per_filter_config={
            EXT_AUTHZ: _context(provider, paths[0]),
            **watched(config, route_facts(provider, paths[0])),
            WEBSOCKET_REPLIES: no_websocket_here(),
        },
    )
    limit_waits(route, provider, RetryPolicy(), is_websocket=True)
    return [route]


def not_served(provider: Provider, match: RouteMatch) -> Route:
    """Answer 404 to callers with a Coder token; authz refuses all others."""
    return Route(
        name=f"{provider.name} not served",
        match=match,
        direct_response=DirectResponseAction(status=404),
        typed_per_filter_config={EXT_AUTHZ: _context(provider, None)},
    )


def _to_provider(provider: Provider, mount: Mount, path: AllowedPath, cluster: str) -> RouteAction:
    return RouteAction(
        cluster=cluster,
        regex_rewrite=mount.rewrite(path),
        host_rewrite_literal=provider.base_url.authority,
        # An answer may stream for an hour; the idle timeout bounds a dead one.
        timeout=timedelta(0),
    )


def _actor_headers(config: Config, path: AllowedPath) -> list[HeaderValueOption]:
    """Return headers with the user, from authz's answer; those of the client are removed before."""
    if not has_actor(config, path):
        return []
    return [
        set_header(name, f"%DYNAMIC_METADATA({METADATA_NAMESPACE}:{key})%")
        for name, key in ACTOR_HEADERS.items()
    ]


def _reads(path: AllowedPath) -> bool:
    return set(path.methods) <= {"GET", "HEAD"}


def _any_of(patterns: list[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"


def _context(provider: Provider, path: AllowedPath | None) -> Any:
    """Tell authz what a route leads to; ``path`` is None where nothing is served."""
    return packed_context(route_facts(provider, path))
