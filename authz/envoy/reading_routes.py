"""Routes of providers whose requests Envoy reads, for rules for models and strict budgets."""

import re
from collections.abc import Sequence
from copy import copy

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, Route, RouteMatch
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.check.ext_authz import CONTEXT_LIMIT, CONTEXT_MODEL, CONTEXT_PROVIDER
from authz.config.settings import Config
from authz.core.providers import AllowedPath, ModelPlace
from authz.core.request_apis import FORM_ENDS, REQUEST_APIS, OutputLimit
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.packing import packed_context, regex
from authz.envoy.request_models import MIB, reads_model


def reading(route: Route, facts: dict[str, str], path: AllowedPath, config: Config) -> list[Route]:
    """Return the routes that take the place of a route.

    Args:
        route: to the provider.
        facts: what it tells authz.
        path: like those of the route, with methods that do not differ in the model.
        config: says whether budgets are strict at this provider.
    """
    (provider,) = (one for one in config.providers if one.name == facts[CONTEXT_PROVIDER])
    strict = config.reserves_strictly_at(provider)
    routes = []
    if path.model is ModelPlace.BODY and _may_have(route, FORM_ENDS):
        unread = {EXT_AUTHZ: packed_context({**facts, CONTEXT_MODEL: ModelPlace.UNKNOWN})}
        routes.append(_with(route, unread, FORM_ENDS))
    facts = {**facts, CONTEXT_MODEL: path.model}
    if strict and path.model in (ModelPlace.BODY, ModelPlace.PATH):
        for api in REQUEST_APIS:
            if not _may_have(route, api.ends):
                continue
            context = {EXT_AUTHZ: packed_context({**facts, CONTEXT_LIMIT: api.limit})}
            found = _with(route, context | reads_model(path, api, strict=True), api.ends)
            if api.limit is OutputLimit.FIELDS:
                # This filter lets Envoy collect the body.
                found.request_body_buffer_limit = config.envoy.max_body_mib * MIB
            routes.append(found)
    rest = {EXT_AUTHZ: packed_context(facts)} | reads_model(path, None, strict=strict)
    return [*routes, _with(route, rest)]


def _with(route: Route, per_filter: dict[str, Any], ends: Sequence[str] = ()) -> Route:
    """Return a copy of a route with other settings of filters, for paths with these ends."""
    found = copy(route)
    found.typed_per_filter_config = {**route.typed_per_filter_config, **per_filter}
    if ends:
        match = found.match = copy(route.match or RouteMatch())
        pattern = rf"[^?]*(?:{'|'.join(map(re.escape, ends))})(?:\?.*)?"
        ending = StringMatcher(safe_regex=regex(pattern))
        match.headers = [*match.headers, HeaderMatcher(name=":path", string_match=ending)]
    return found


def _may_have(route: Route, ends: Sequence[str]) -> bool:
    """Return whether paths of a route can have one of these ends."""
    matcher = route.match.safe_regex if route.match is not None else None
    pattern = matcher.regex if matcher is not None else ""
    return any(end.lstrip("/:").rpartition("/")[2] in pattern for end in ends)
