"""authz.oauth.claims: patterns of a rule against the claims of a JWT."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.oauth.claims import matches, mismatches

POD = {"namespace": "ci", "pod": {"name": "builder-0"}}
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("patterns", "claims"),
    [
        ({"a": "x*"}, {"a": "x"}),
        ({"a": "x*"}, {"a": "x/y:z\nmore"}),
        ({"a": "x?z"}, {"a": "xyz"}),
        ({"a": "dependabot[bot]"}, {"a": "dependabot[bot]"}),
        ({"a": "x"}, {"a": ["w", "x"]}),
        ({"a": "12"}, {"a": 12}),
        ({"a": "true"}, {"a": True}),
        ({"kubernetes.io": {"namespace": "ci"}}, {"kubernetes.io": POD}),
        ({"kubernetes.io.namespace": "ci"}, {"kubernetes.io": POD}),
        ({"kubernetes.io": {"pod.name": "builder-*"}}, {"kubernetes.io": POD}),
        ({"https://acme.test/team": "x"}, {"https://acme.test/team": "x"}),
    ],
)
def test_what_matches(patterns: dict[str, Any], claims: dict[str, Any]) -> None:
    """A pattern describes the whole text of a claim, which may be nested."""
    assert matches(patterns, claims)


@pytest.mark.parametrize(
    ("patterns", "claims"),
    [
        ({"a": "x"}, {"a": "xy"}),
        ({"a": "x"}, {"a": "wx"}),
        ({"a": "x"}, {"a": "x\n"}),
        ({"a": "x"}, {"a": "X"}),
        ({"a": "*"}, {}),
        ({"a": "*"}, {"a": None}),
        ({"a": "*"}, {"a": []}),
        ({"a": "*"}, {"a": {}}),
        ({"a": "*"}, {"a": 1.5}),
        ({"a": "*"}, {"a": [["x"]]}),
        ({"a": "[xy]"}, {"a": "x"}),
        ({"a": "1"}, {"a": True}),
        ({"a": "x", "b": "y"}, {"a": "x"}),
        ({"a.b": "x"}, {"a.b": "x", "a": {"b": "x"}}),
        ({"a.b": "*"}, {"a": "x"}),
    ],
)
def test_what_does_not_match(patterns: dict[str, Any], claims: dict[str, Any]) -> None:
    """Another text, a claim that is missing, or a name with two readings matches nothing."""
    assert not matches(patterns, claims)


def test_the_reason() -> None:
    """A mismatch names the claim, the pattern and what was there instead."""
    [one] = mismatches({"kubernetes.io": {"namespace": "cd"}}, {"kubernetes.io": POD})
    assert (one.claim, one.pattern, one.found) == ("kubernetes.io.namespace", "cd", ("ci",))


@given(_TEXT, _TEXT)
def test_a_pattern_without_wildcards(text: str, other: str) -> None:
    """A text without wildcards matches itself only."""
    plain = "x" + "".join(letter for letter in text if letter not in "*?")
    assert matches({"a": plain}, {"a": plain})
    assert matches({"a": plain}, {"a": other}) == (other == plain)
    assert not matches({"a": plain}, {"b": plain})


@given(_TEXT, _TEXT, _TEXT)
def test_a_wildcard(before: str, between: str, after: str) -> None:
    """A star matches any text, even an empty one, and the rest of the pattern matches itself."""
    before, after = (text.replace("*", "").replace("?", "") for text in (before, after))
    assert matches({"a": f"{before}*{after}"}, {"a": f"{before}{between}{after}"})
    assert not matches({"a": f"{before}*{after}x"}, {"a": f"{before}{between}{after}y"})


def test_many_wildcards() -> None:
    """A pattern with many wildcards takes no longer than its text is long."""
    assert not matches({"a": "*a" * 12 + "b"}, {"a": "a" * 4000})


@given(st.dictionaries(_TEXT, _JSON))
def test_any_claims(claims: dict[str, Any]) -> None:
    """Claims of any shape match or do not, without an error."""
    claims.pop("needed", None)
    assert not matches({"needed": "x*"}, claims)
    assert not matches({"needed": {"within": "*"}}, claims)
