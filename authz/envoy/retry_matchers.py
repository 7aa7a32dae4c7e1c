"""Lua in Envoy's filters, run only where a request has certain metadata or a certain status."""

from collections.abc import Sequence

import betterproto2
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
)
from envoy_data_plane.envoy.extensions.common.matching.v3 import ExtensionWithMatcher
from envoy_data_plane.envoy.extensions.filters.common.matcher.action.v3 import SkipFilter
from envoy_data_plane.envoy.extensions.filters.http.composite.v3 import (
    Composite,
    ExecuteFilterAction,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from authz.envoy.matchers import (
    first_match,
    is_not,
    metadata_is,
    status_is_among,
    xds_extension,
)
from authz.envoy.packing import extension, regex, set_header
from authz.envoy.retry_scripts import REQUEST_SEEN, REQUEST_SEEN_FORMAT
from authz.metrics import RETRIED_STATUSES


def lua_if(places: Sequence[tuple[str, str]], script: str) -> ExtensionWithMatcher:
    """Run a script for requests with metadata in one of these places; all others cost no Lua."""
    action = ExecuteFilterAction(typed_config=extension("envoy.filters.http.lua", _lua(script)))
    run = xds_extension("lua", action)
    any_text = StringMatcher(safe_regex=regex(".+"))
    return ExtensionWithMatcher(
        xds_matcher=first_match([(metadata_is(*place, any_text), run) for place in places]),
        extension_config=extension("envoy.filters.http.composite", Composite()),
    )


def lua_on_a_refusal(script: str) -> ExtensionWithMatcher:
    """Run a script for the responses that are retried."""
    return _on_a_refusal("envoy.filters.http.lua", _lua(script))


def show_request_on_a_refusal() -> ExtensionWithMatcher:
    """Add a header that shows Lua what it can't read itself."""
    shown = Mutation(append=set_header(REQUEST_SEEN, REQUEST_SEEN_FORMAT))
    mutation = HeaderMutation(mutations=Mutations(response_mutations=[shown]))
    return _on_a_refusal("envoy.filters.http.header_mutation", mutation)


def _on_a_refusal(name: str, message: betterproto2.Message) -> ExtensionWithMatcher:
    """Skip a filter for every other status."""
    is_other = is_not(status_is_among(RETRIED_STATUSES))
    return ExtensionWithMatcher(
        xds_matcher=first_match([(is_other, xds_extension("skip", SkipFilter()))]),
        extension_config=extension(name, message),
    )


def _lua(script: str) -> Lua:
    return Lua(default_source_code=DataSource(inline_string=script))
