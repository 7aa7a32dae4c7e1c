"""authz.core.permissions: the rules of a token and of groups together."""

import random

from hypothesis import given
from hypothesis import strategies as st

from authz.core.groups import Group
from authz.core.permissions import UNLIMITED, Limiter, Permission, Use, permit
from authz.core.rules import NO_RULES, NOTHING, Mode, TokenRules, make_rules

_PROVIDERS = ("anthropic", "openai", "gemini")
_RULES = st.builds(
    make_rules,
    st.one_of(st.none(), st.lists(st.sampled_from(_PROVIDERS), unique=True)),
    st.one_of(st.none(), st.lists(st.sampled_from([mode.value for mode in Mode]), unique=True)),
) | st.just(NOTHING)
_GROUPS = st.lists(st.builds(Group, st.sampled_from(["a", "b", "c", "d"]), _RULES), max_size=4)
_USES = st.builds(Use, st.sampled_from(_PROVIDERS), st.none() | st.sampled_from(list(Mode)))


def _allows(rules: TokenRules, use: Use) -> bool:
    return permit(rules, (), use).allowed


@given(_RULES, _GROUPS, _USES)
def test_groups_never_widen_a_token(token: TokenRules, groups: list[Group], use: Use) -> None:
    """Groups can't allow a use that the token's rules refuse."""
    if permit(token, groups, use).allowed:
        assert _allows(token, use)


@given(_RULES, _GROUPS, _USES, st.randoms(use_true_random=False))
def test_the_order_of_groups_does_not_matter(
    token: TokenRules, groups: list[Group], use: Use, order: random.Random
) -> None:
    """Any order of the groups gives the same answer and the same findings."""
    shuffled = groups.copy()
    order.shuffle(shuffled)
    one, other = permit(token, groups, use), permit(token, shuffled, use)
    assert one.refused_by == other.refused_by
    assert sorted(map(repr, one.findings)) == sorted(map(repr, other.findings))


@given(_RULES, _GROUPS, _USES)
def test_the_union_of_the_groups_within_the_token(
    token: TokenRules, groups: list[Group], use: Use
) -> None:
    """A use needs the token's permission, and that of one limiting group if there are any."""
    limiting = [group.rules for group in groups if group.rules != NO_RULES]
    by_groups = not limiting or any(_allows(rules, use) for rules in limiting)
    assert permit(token, groups, use).allowed == (_allows(token, use) and by_groups)


@given(_RULES, _GROUPS, st.sampled_from(_PROVIDERS))
def test_an_unknown_mode_refuses_nothing_that_a_mode_allows(
    token: TokenRules, groups: list[Group], provider: str
) -> None:
    """The first question, about the provider alone, never refuses a use that a mode allows."""
    if any(permit(token, groups, Use(provider, mode)).allowed for mode in Mode):
        assert permit(token, groups, Use(provider)).allowed


def test_no_rules_at_all() -> None:
    """Without rules the answer is one constant, also with groups that limit nothing."""
    assert permit(NO_RULES, (), Use("openai")) is UNLIMITED
    assert permit(NO_RULES, (Group("all"),), Use("openai")) is UNLIMITED


def test_a_mode_of_one_group_is_not_lent_to_another() -> None:
    """A group's provider and another group's mode together allow nothing."""
    groups = (
        Group("a", make_rules(["openai"], ["byok"])),
        Group("b", make_rules(["anthropic"], ["centralized"])),
    )
    assert permit(NO_RULES, groups, Use("openai", Mode.BYOK)).allowed
    refused = permit(NO_RULES, groups, Use("openai", Mode.CENTRALIZED))
    assert refused.refused_by is Limiter.GROUP
    assert [finding.allows for finding in refused.findings] == [False, False]


def test_a_group_without_rules_does_not_widen() -> None:
    """Only groups with rules count, so membership of a group without any changes nothing."""
    limited = Group("a", make_rules(["openai"]))
    use = Use("anthropic")
    assert permit(NO_RULES, (limited,), use) == permit(NO_RULES, (Group("all"), limited), use)
    assert not permit(NO_RULES, (Group("all"), limited), use).allowed


def test_the_token_is_named_first() -> None:
    """If the token and the groups refuse, the refusal names the token."""
    permission = permit(make_rules(["openai"]), (Group("a", NOTHING),), Use("gemini"))
    assert isinstance(permission, Permission)
    assert permission.refused_by is Limiter.TOKEN
