"""The HTTP filters, in the order a request passes them: ask authz, clean the headers, route."""

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation as HeaderMutationAction,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutationRemoveOnMatch,
    HeaderMutationRules,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    BackoffStrategy,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import (
    Config as SetFilterState,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from authz.check.declared import BODY_NAMESPACE, FIELDS_NAMESPACE, PATH_NAMESPACE
from authz.check.ext_authz import METADATA_NAMESPACE
from authz.config.settings import Config
from authz.core.header_names import (
    REMOVED_HEADERS,
    REMOVED_PREFIXES,
    SESSION_HEADERS,
    TRACEPARENT,
)
from authz.envoy.early_refusals import refuse_early
from authz.envoy.limits import rate_limit
from authz.envoy.open_streams import watch
from authz.envoy.packing import exactly, packed, regex, seconds
from authz.envoy.request_models import request_models
from authz.envoy.retries import begin_elsewhere, has_fallbacks
from authz.envoy.typed_struct import typed_struct
from authz.envoy.websocket_replies import websocket_replies
from authz.usage.names import REQUEST_ID_KEY

EXT_AUTHZ = METADATA_NAMESPACE
AUTHZ_CLUSTER = "authz"

PROXY_TOKEN_KEY = "authz.proxy.token"  # noqa: S105 - the name of a filter state object
"""Filter state, as ``PROXY_SESSION_KEY``."""

CHECK_SECONDS = 2.0
"""The longest time for a check with all its tries; then the request gets 503. A check takes a
millisecond, a look-up at the identity source at most 0.8 s, and a hung authz must not look slow."""
TRY_SECONDS = 0.9
"""The longest time for one try: that of the slowest look-up."""
HOST_DRAWS = 20
RETRIES = 8
FIRST_BACK_OFF_SECONDS = 0.05
"""The first retry comes at random within this time, the next within twice that, and so on. So
another replica is asked at once, and the only one has most of ``CHECK_SECONDS`` to come back."""

_HTTP_3_OFFER = "alt-svc"
"""A provider's offer of HTTP/3 is about its own host, not about the gateway."""
SESSION_FILTER = "envoy.filters.http.header_mutation.session"
"""Removes cookies and Coder's session; off for the API and the pages, which have a session."""
_SESSION_HEADERS = ("cookie", "coder-")


def http_filters(config: Config) -> list[HttpFilter]:
    """Return the filter chain of every request."""
    limits = [rate_limit(config.limits)] if config.limits.any else []
    usage = [_token_usage()] if config.usage.enabled else []
    models = request_models(config) if config.reads_requests else []
    return [
        keep_request_id(),
        refuse_early(),
        *watch(config),
        *models,
        ext_authz(reads_models=bool(models)),
        *([begin_elsewhere()] if has_fallbacks(config) else []),
        *limits,
        _remove_headers(config),
        _remove_session(config),
        websocket_replies(),
        *usage,
        router(),
    ]


def keep_request_id() -> HttpFilter:
    """Keep the request id for the access log, before it is removed."""
    config = SetFilterState(
        on_request_headers=[
            FilterStateValue(
                object_key=REQUEST_ID_KEY,
                factory_key="envoy.string",
                format_string=SubstitutionFormatString(
                    text_format_source=DataSource(inline_string="%REQ(X-REQUEST-ID)%")
                ),
            )
        ]
    )
    return HttpFilter(name="envoy.filters.http.set_filter_state", typed_config=packed(config))


def ext_authz(*, reads_models: bool = False) -> HttpFilter:
    """Ask authz; whatever goes wrong is a 503.

    Args:
        reads_models: whether filters in front of this one read models for authz.
    """
    config = ExtAuthz(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=AUTHZ_CLUSTER),
            timeout=seconds(CHECK_SECONDS),
            retry_policy=_ask_another(),
        ),
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        validate_mutations=True,
        # Without these, duplicates are joined and odd bytes replaced before authz sees them.
        encode_raw_headers=True,
        disallowed_headers=ListStringMatcher(patterns=[exactly("cookie")]),
        decoder_header_mutation_rules=HeaderMutationRules(
            disallow_system=True, allow_all_routing=False, allow_envoy=False
        ),
        metadata_context_namespaces=[PATH_NAMESPACE, FIELDS_NAMESPACE] if reads_models else [],
        typed_metadata_context_namespaces=[BODY_NAMESPACE] if reads_models else [],
    )
    return HttpFilter(name=EXT_AUTHZ, typed_config=packed(config))


def _ask_another() -> RetryPolicy:
    """Ask again, another replica if there is one, when the one that was asked is gone.

    An answer of authz is never asked for again, whatever it says. This is the only place where
    Envoy heeds retries of a check: those of ``envoy_grpc`` are ignored.
    """
    return RetryPolicy(
        retry_on="cancelled,unavailable,connect-failure,refused-stream,reset,reset-before-request",
        num_retries=RETRIES,
        # The longest back-off is the timeout of one try too (convertCoreToRouteRetryPolicy).
        retry_back_off=BackoffStrategy(
            base_interval=seconds(FIRST_BACK_OFF_SECONDS), max_interval=seconds(TRY_SECONDS)
        ),
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=packed(PreviousHostsPredicate()),
            )
        ],
        # A replica that has just lost its checks is the least busy one, so it is drawn three times
        # out of four; after this many draws it is taken.
        host_selection_retry_max_attempts=HOST_DRAWS,
    )


def _remove_headers(config: Config) -> HttpFilter:
    names = [name for name in REMOVED_HEADERS if name not in _SESSION_HEADERS]
    if config.usage.has_tags:
        names += SESSION_HEADERS
    prefixes = [prefix for prefix in REMOVED_PREFIXES if prefix not in _SESSION_HEADERS]
    mutations = Mutations(
        request_mutations=[
            _remove("|".join(names)),
            _remove("|".join(f"{prefix}.*" for prefix in prefixes)),
        ],
        # No AI API takes request trailers, and authz decides on headers alone.
        request_trailers_mutations=[_remove(".*")],
        response_mutations=[HeaderMutationAction(remove=_HTTP_3_OFFER)],
    )
    return HttpFilter(
        name="envoy.filters.http.header_mutation",
        typed_config=packed(HeaderMutation(mutations=mutations)),
    )


def _remove_session(config: Config) -> HttpFilter:
    # A traceparent that is left is a client's that continues here (`tracing.join_clients`).
    traces = [TRACEPARENT] if config.tracing is not None else []
    mutations = Mutations(
        request_mutations=[_remove("|".join([*traces, "cookie", "coder-.*"]))],
        response_mutations=[HeaderMutationAction(remove="set-cookie")],
    )
    return HttpFilter(name=SESSION_FILTER, typed_config=packed(HeaderMutation(mutations=mutations)))


def _remove(names: str) -> HeaderMutationAction:
    """Remove the headers whose whole name matches a pattern."""
    matcher = StringMatcher(safe_regex=regex(names))
    return HeaderMutationAction(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=matcher))


def _token_usage() -> HttpFilter:
    """Read what a provider counted out of its answer, which goes on as it comes.

    ``json_to_metadata``, the other way, holds an answer back and makes a 500 of one that is larger
    than the connection's buffer (docs/decisions/0010-usage.md).
    """
    values = {"response_handling": {"token_usage": {"include_unconfigured_routes": True}}}
    message = "envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager"
    return HttpFilter(
        name="envoy.filters.http.ai_protocol_manager", typed_config=typed_struct(message, values)
    )


def router() -> HttpFilter:
    """Send the request to its cluster."""
    return HttpFilter(
        name="envoy.filters.http.router", typed_config=packed(Router(suppress_envoy_headers=True))
    )
