"""authz.core.groups."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.groups import Group, read_groups
from authz.core.permissions import Use, permit
from authz.core.rules import NO_RULES, NOTHING, make_rules


def test_groups_are_read_as_they_are_stored() -> None:
    """Names and rules come in the order of the list; no rules are null."""
    text = '[{"name": "a", "rules": null}, {"name": "b", "rules": {"providers": ["openai"]}}]'
    assert read_groups(text) == (Group("a"), Group("b", make_rules(["openai"])))
    assert read_groups(None) == ()
    assert read_groups("[]") == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "{}",
        '""',
        "7",
        '["a"]',
        '[{"name": "a"}]',
        '[{"rules": null}]',
        '[{"name": 1, "rules": null}]',
        '[{"name": "a", "rules": 7}]',
        '[{"name": "a", "rules": {}}]',
        '[{"name": "a", "rules": {"models": ["x"]}}]',
        "[" * 100_000,
    ],
)
def test_unreadable_groups_allow_nothing(text: str) -> None:
    """Groups of a later version or of a damaged row limit the user to nothing."""
    groups = read_groups(text)
    assert not permit(NO_RULES, groups, Use("openai")).allowed
    assert {group.rules for group in groups} == {NOTHING}


def test_a_name_of_another_program_is_shown_in_one_line() -> None:
    """Names go into logs and refusals, so control characters are replaced."""
    (group,) = read_groups(json.dumps([{"name": "a\x1b[31m\nb", "rules": None}]))
    assert group.name.isprintable()


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    """Any text is read without an error, and only an empty list means "no limit"."""
    groups = read_groups(text)
    assert groups or text.strip() == "[]"
