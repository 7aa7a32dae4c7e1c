"""authz.model_rules.verdict: which rules are for a request, and what they say."""

import time
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.config.model_rules import ModelRule
from authz.core.groups import Group
from authz.core.identity import Identity
from authz.core.rules import NO_RULES
from authz.model_rules.verdict import matching, objection
from tests.support.identities import identity_of

ALICE = identity_of("Abcdefghi1-Abcdefghijklmnopqrstu2", "alice")
IN_LABS = replace(ALICE, memberships=(Group("labs", NO_RULES),))
NAMELESS = replace(ALICE, username="", user_id="")


def _passes(identity: Identity, model: str, *rules: ModelRule) -> bool:
    found = matching(rules, identity)
    return not objection(found, model, is_known=bool(identity.username))


def _rule(**values: object) -> ModelRule:
    return ModelRule.model_validate(values)


@pytest.mark.parametrize(
    ("rules", "passing", "refused"),
    [
        ([_rule(deny=["*opus*"])], ["claude-haiku", "x"], ["claude-opus-4", "OPUS", "a/opus"]),
        ([_rule(allow=["claude-*"])], ["claude-", "Claude-x"], ["aclaude-x", "gpt", "claude"]),
        ([_rule(allow=["gpt-?"])], ["gpt-5"], ["gpt-", "gpt-55"]),
        ([_rule(allow=["a*"], deny=["ab*"])], ["ac"], ["ab", "abc"]),
        ([_rule(allow=["a"]), _rule(users=["alice"], allow=["b"])], ["a", "b"], ["c"]),
        ([_rule(allow=["a"]), _rule(users=["bob"], allow=["b"])], ["a"], ["b"]),
        ([_rule(deny=["a"]), _rule(users=["alice"], allow=["a"])], [], ["a", "b"]),
        ([_rule(users=["Alice"], deny=["a"])], ["a"], []),
        ([_rule(groups=["labs"], deny=["a"])], ["a"], []),
        ([_rule(tokens=["Abcdefghi1"], allow=["a*"]), _rule(allow=["ab"])], ["ab"], ["ac", "b"]),
        ([_rule(tokens=["Abcdefghi2"], deny=["*"])], ["a"], []),
        ([_rule(allow=["a.b+c"])], ["a.b+c"], ["axb+c", "a.bbc"]),
    ],
)
def test_what_rules_say(rules: list[ModelRule], passing: list[str], refused: list[str]) -> None:
    """A deny wins, an allow of any matching rule is enough, and a token's rules only narrow."""
    assert [model for model in passing if not _passes(ALICE, model, *rules)] == []
    assert [model for model in refused if _passes(ALICE, model, *rules)] == []


def test_the_rules_of_a_group_are_for_its_members() -> None:
    """A group's rules count for a member as the user's own do."""
    rules = _rule(allow=["a"]), _rule(groups=["labs", "x"], allow=["b"])
    assert _passes(IN_LABS, "b", *rules)
    assert not _passes(ALICE, "b", *rules)


def test_an_unknown_user_has_all_rules() -> None:
    """If the user is unknown, every rule of users and groups has to allow the model."""
    rules = _rule(users=["bob"], allow=["a*"]), _rule(groups=["labs"], allow=["*b"])
    assert _passes(NAMELESS, "a-b", *rules)
    assert not _passes(NAMELESS, "a", *rules)
    assert not _passes(NAMELESS, "b", *rules)
    assert not _passes(NAMELESS, "a", _rule(users=["bob"], deny=["a"]))


def test_the_message_names_the_rule() -> None:
    """The message has the glob that denies, or up to ten globs that allow."""
    found = matching([_rule(allow=[f"m{number}" for number in range(12)], deny=["x*"])], ALICE)
    assert objection(found, "xy") == "a rule denies x*"
    assert objection(found, "y").endswith("m8, m9 and 2 more")
    assert not matching([], ALICE)


def test_no_name_takes_long() -> None:
    """A glob with many stars does not search for longer than its length times the name's."""
    rule = _rule(deny=["a*" * 60 + "b"])
    started = time.perf_counter()
    assert _passes(ALICE, "a" * 256, rule)
    assert time.perf_counter() - started < 1


_NAMES = st.text("ab-*?", min_size=1, max_size=6)


@settings(max_examples=50)
@given(st.lists(_NAMES, max_size=3), st.lists(_NAMES, max_size=3), st.text("ab-", min_size=1))
def test_globs_match_as_in_the_shell(allow: list[str], deny: list[str], model: str) -> None:
    """For any globs the answer is that of ``fnmatch``, and a deny is never overruled."""
    if not allow and not deny:
        return
    expected = not any(fnmatchcase(model, glob) for glob in deny) and (
        not allow or any(fnmatchcase(model, glob) for glob in allow)
    )
    assert _passes(ALICE, model, _rule(allow=allow, deny=deny)) is expected
