"""authz.secret."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.secret import Secret, mask


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("", ""),
        ("abcd", "..."),
        ("short", "s...t"),
        ("0123456789", "01...89"),
        ("sk-ant-api03-abcdefgh", "sk-a...efgh"),
        ("ü" * 20, "üüüü...üüüü"),
    ],
)
def test_masks(value: str, hint: str) -> None:
    """Hints follow Coder's rule and count characters."""
    assert mask(value) == hint


@given(st.text(min_size=5, max_size=80))
def test_most_of_a_secret_stays_hidden(value: str) -> None:
    """A hint shows at most eight characters, and never more than half of a secret."""
    shown = len(mask(value)) - 3
    assert shown <= min(8, len(value) // 2)


def test_a_secret_shows_its_hint_only() -> None:
    """Neither repr, str, formatting, an exception nor a dict shows the value."""
    secret = Secret("sk-ant-api03-abcdefgh")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        repr({1: secret}),
    ]
    shown.append(str(ValueError(secret)))
    assert not any("api03" in text for text in shown)
    assert secret.reveal() == "sk-ant-api03-abcdefgh"
    assert secret.hint == "sk-a...efgh"


def test_secrets_compare_by_value() -> None:
    """Equal values are equal secrets, with equal hashes; a str is never equal to a secret."""
    assert Secret("ü") == Secret("ü")
    assert Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != "a"


@given(st.text(alphabet=st.characters(), max_size=5))
def test_any_text_can_be_compared(value: str) -> None:
    """Secrets with bytes that are not UTF-8 are compared without an error."""
    assert Secret(value + "\udcff") == Secret(value + "\udcff")
    assert Secret(value) != Secret(value + "\udcff")


def test_a_secret_is_not_pickled() -> None:
    """A secret does not leave the process by pickle."""
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(Secret("a"))
