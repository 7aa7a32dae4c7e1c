"""authz.core.rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.rules import NO_RULES, NOTHING, Mode, TokenRules, make_rules, read_rules

_NAMES = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}", fullmatch=True)
_MODES = st.sampled_from(["central", "centralized", "byok"])


@given(st.lists(_NAMES, max_size=5), st.lists(_MODES, max_size=3))
def test_what_is_written_is_read(providers: list[str], modes: list[str]) -> None:
    """Rules come back from their text, and allow exactly what was named."""
    rules = make_rules(providers, modes)
    assert read_rules(rules.as_text()) == rules
    assert all(rules.allow_provider(name) for name in providers)
    assert rules.allow_provider("not-among-them-at-all") is (not providers)
    assert rules.allow_mode(Mode.BYOK) is (not modes or "byok" in modes)
    assert rules.allow_mode(Mode.CENTRALIZED) is (not modes or set(modes) != {"byok"})


def test_only_known_providers_are_taken() -> None:
    """If the providers are known, another name is refused with a list of them."""
    known = ["openai", "anthropic"]
    assert make_rules(["openai"], known=known).providers == ("openai",)
    assert make_rules(known=known) == NO_RULES
    with pytest.raises(ValueError, match="this gateway has anthropic, openai") as caught:
        make_rules(["openai", "nope"], known=known)
    assert "nope" not in str(caught.value)


def test_no_rules_are_not_stored() -> None:
    """A token without rules has no text, and a missing text means no rules."""
    assert make_rules() == make_rules([], []) == NO_RULES == read_rules(None)
    assert NO_RULES.as_text() is None
    assert NO_RULES.allow_provider("anthropic")


@given(
    st.text()
    | st.sampled_from(
        [
            "{}",
            "[]",
            "null",
            '{"providers": []}',
            '{"providers": "anthropic"}',
            '{"providers": [1]}',
            '{"modes": ["later"]}',
            '{"providers": ["a"], "models": ["b"]}',
        ]
    )
)
def test_what_cannot_be_read_allows_nothing(text: str) -> None:
    """A text that is damaged or of a later version allows nothing."""
    rules = read_rules(text)
    assert rules == NOTHING
    assert not rules.allow_provider("anthropic")
    assert not any(rules.allow_mode(mode) for mode in Mode)


@pytest.mark.parametrize(
    ("providers", "modes"),
    [
        (["Anthropic"], []),
        ([""], []),
        (["a" * 65], []),
        (["0123456789-0123456789012345678901"] * 65, []),
        ([], ["both"]),
        ([], [""]),
    ],
)
def test_bad_rules_are_refused_without_quoting(providers: list[str], modes: list[str]) -> None:
    """An impossible provider name or an unknown mode is an error that does not quote it."""
    with pytest.raises(ValueError, match=r"provider|mode") as caught:
        make_rules(providers, modes)
    assert not any(len(name) > 8 and name in str(caught.value) for name in providers)


def test_rules_are_said_in_words() -> None:
    """A person reads what a token is limited to."""
    rules = TokenRules(providers=("anthropic", "openai"), modes=(Mode.BYOK,))
    assert str(rules) == "anthropic, openai; byok"
    assert (str(NO_RULES), str(NOTHING)) == ("", "none; none")
