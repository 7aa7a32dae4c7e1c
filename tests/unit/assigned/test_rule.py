"""authz.assigned.rule: values and their text."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.assigned.rule import MODELS, RuleKind, Value, check_value, read_value, write_value

_GLOBS = st.lists(st.from_regex(r"[a-z*?.-]{1,20}", fullmatch=True), min_size=1, max_size=5)


@given(st.sampled_from(RuleKind), st.text(max_size=60))
def test_any_text(kind: RuleKind, text: str) -> None:
    """Any text is a value that stays the same when written and read again, or a ValueError."""
    with contextlib.suppress(ValueError):
        value = read_value(kind, text)
        assert read_value(kind, write_value(value)) == value


@given(st.sampled_from(MODELS), _GLOBS)
def test_names_of_models(kind: RuleKind, globs: list[str]) -> None:
    """Globs keep their order and lose duplicates."""
    value = check_value(kind, tuple(globs))
    assert value == tuple(dict.fromkeys(globs))
    assert read_value(kind, write_value(value)) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RuleKind.REQUESTS, 0),
        (RuleKind.REQUESTS, -1),
        (RuleKind.REQUESTS, 1_000_001),
        (RuleKind.REQUESTS, ("claude-*",)),
        (RuleKind.ALLOW, 3),
        (RuleKind.ALLOW, ()),
        (RuleKind.DENY, ("a b",)),
        (RuleKind.DENY, ("x" * 129,)),
        (RuleKind.DENY, tuple(f"m-{number}" for number in range(101))),
    ],
)
def test_values_that_are_not_possible(kind: RuleKind, value: Value) -> None:
    """An impossible value is an error that names the rule."""
    with pytest.raises(ValueError, match=kind):
        check_value(kind, value)
