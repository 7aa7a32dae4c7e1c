"""Envoy's matcher tree over the path: the longest prefix selects a list of routes."""

from collections.abc import Sequence
from dataclasses import dataclass

from envoy_data_plane.envoy.config.route.v3 import Route, RouteList
from envoy_data_plane.envoy.type.matcher.v3 import HttpRequestHeaderMatchInput
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherMatcherTree,
    MatcherMatcherTreeMatchMap,
    MatcherOnMatch,
    RegexMatcher,
    RegexMatcherGoogleRe2,
    StringMatcher,
)

from authz.envoy.packing import packed


@dataclass(frozen=True, slots=True)
class Branch:
    """The routes below some paths.

    Attributes:
        name: of the branch, for readers of the configuration.
        prefixes: of the paths. A path belongs to a branch if it is one of these or continues with
            a slash: ``/openaix`` does not belong to ``/openai``.
        pattern: matches any of the prefixes.
        routes: tried in order. The last one has to match every path, because Envoy answers 404
            without asking authz where a list has no match.
    """

    name: str
    prefixes: Sequence[str]
    pattern: str
    routes: list[Route]


def path_tree(branches: Sequence[Branch], rest: list[Route]) -> Matcher:
    """Return the tree.

    Envoy finds the longest prefix in a trie. If the path does not belong to that branch, Envoy
    continues with shorter prefixes, and then with ``rest``.

    Args:
        branches: at least one.
        rest: the routes for paths that belong to no branch.
    """
    matches = {prefix: _in_branch(branch) for branch in branches for prefix in branch.prefixes}
    return Matcher(
        matcher_tree=MatcherMatcherTree(
            input=_path(), prefix_match_map=MatcherMatcherTreeMatchMap(map=matches)
        ),
        on_no_match=_routes("rest", rest),
    )


def _in_branch(branch: Branch) -> MatcherOnMatch:
    # \C is any byte: the query need not be UTF-8.
    pattern = rf"{branch.pattern}(?:[/?]\C*)?"
    belongs = MatcherMatcherListPredicateSinglePredicate(
        input=_path(),
        value_match=StringMatcher(
            safe_regex=RegexMatcher(google_re2=RegexMatcherGoogleRe2(), regex=pattern)
        ),
    )
    field = MatcherMatcherListFieldMatcher(
        predicate=MatcherMatcherListPredicate(single_predicate=belongs),
        on_match=_routes(branch.name, branch.routes),
    )
    return MatcherOnMatch(matcher=Matcher(matcher_list=MatcherMatcherList(matchers=[field])))


def _routes(name: str, routes: list[Route]) -> MatcherOnMatch:
    config = packed(RouteList(routes=routes))
    return MatcherOnMatch(action=TypedExtensionConfig(name=name, typed_config=config))


def _path() -> TypedExtensionConfig:
    config = packed(HttpRequestHeaderMatchInput(header_name=":path"))
    return TypedExtensionConfig(name="path", typed_config=config)
