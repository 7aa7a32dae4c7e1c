"""Conditions on requests and responses, and Envoy's actions where they hold."""

from collections.abc import Iterable

import betterproto2
from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import (
    DynamicMetadataInput,
    DynamicMetadataInputPathSegment,
    FilterStateInput,
)
from envoy_data_plane.envoy.extensions.matching.input_matchers.metadata.v3 import (
    Metadata as MetadataMatcher,
)
from envoy_data_plane.envoy.type.matcher.v3 import HttpResponseStatusCodeMatchInput, ValueMatcher
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher as EnvoyStringMatcher
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtension
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    RegexMatcher,
    RegexMatcherGoogleRe2,
    StringMatcher,
)

from authz.envoy.packing import packed

Condition = MatcherMatcherListPredicate


def xds_extension(name: str, message: betterproto2.Message) -> XdsExtension:
    """Name an input or an action of a matcher and wrap its configuration."""
    return XdsExtension(name=name, typed_config=packed(message))


def metadata_is(namespace: str, key: str, value: EnvoyStringMatcher) -> Condition:
    """Match where a field of the request's dynamic metadata is a text that matches."""
    return _single(
        xds_extension(
            "envoy.matching.inputs.dynamic_metadata",
            DynamicMetadataInput(filter=namespace, path=[DynamicMetadataInputPathSegment(key=key)]),
        ),
        custom_match=xds_extension(
            "envoy.matching.matchers.metadata_matcher",
            MetadataMatcher(value=ValueMatcher(string_match=value)),
        ),
    )


def filter_state_is(key: str, value: str) -> Condition:
    """Match where an object of the request's filter state is this text."""
    found = xds_extension("to", FilterStateInput(key=key))
    return _single(found, value_match=StringMatcher(exact=value))


def status_is_among(statuses: Iterable[int]) -> Condition:
    """Match responses with one of these statuses."""
    pattern = RegexMatcher(google_re2=RegexMatcherGoogleRe2(), regex="|".join(map(str, statuses)))
    found = xds_extension("status", HttpResponseStatusCodeMatchInput())
    return _single(found, value_match=StringMatcher(safe_regex=pattern))


def is_not(condition: Condition) -> Condition:
    """Match where a condition does not hold."""
    return MatcherMatcherListPredicate(not_matcher=condition)


def first_match(
    rules: Iterable[tuple[Condition, XdsExtension]], otherwise: XdsExtension | None = None
) -> Matcher:
    """Return the action of the first condition that holds.

    Args:
        rules: the conditions with their actions.
        otherwise: the action where none of them holds; None does nothing.
    """
    fields = [
        MatcherMatcherListFieldMatcher(predicate=condition, on_match=MatcherOnMatch(action=action))
        for condition, action in rules
    ]
    rest = None if otherwise is None else MatcherOnMatch(action=otherwise)
    return Matcher(matcher_list=MatcherMatcherList(matchers=fields), on_no_match=rest)


def _single(
    found: XdsExtension,
    *,
    value_match: StringMatcher | None = None,
    custom_match: XdsExtension | None = None,
) -> Condition:
    return MatcherMatcherListPredicate(
        single_predicate=MatcherMatcherListPredicateSinglePredicate(
            input=found, value_match=value_match, custom_match=custom_match
        )
    )
