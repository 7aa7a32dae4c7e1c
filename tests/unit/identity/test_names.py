"""authz.identity.names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.tokens import generate
from authz.identity.names import check_email, check_token_name, check_user_name, invent_token_name


@pytest.mark.parametrize("name", ["a", "alice", "Alice-2", "a-b-c", "0", "x" * 32])
def test_good_user_names(name: str) -> None:
    """Letters and digits with single hyphens between are a name."""
    assert check_user_name(name) is None


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a--b", "a b", "a_b", "ü", "a\n", "x" * 33, "me", "a@b.c"]
)
def test_bad_user_names(name: str) -> None:
    """Anything else is refused."""
    assert check_user_name(name) is not None


@pytest.mark.parametrize("email", ["a@b", "alice+x@example.com"])
def test_good_emails(email: str) -> None:
    """An e-mail address needs text on both sides of an at sign."""
    assert check_email(email) is None


@pytest.mark.parametrize(
    "email", ["a", "@", "a@b@c", "a b@c", "a@b\r\nx: y", "é@b", "a@" + "b" * 254]
)
def test_bad_emails(email: str) -> None:
    """An address that couldn't stand in a header is refused."""
    assert check_email(email) is not None


@pytest.mark.parametrize("name", ["laptop", "my laptop", "Büro", "x" * 64])
def test_good_token_names(name: str) -> None:
    """A token's name can be nearly any text."""
    assert check_token_name(name) is None


@pytest.mark.parametrize("name", ["", " a", "a\nb", "x" * 65])
def test_bad_token_names(name: str) -> None:
    """A token's name is printable and not empty."""
    assert check_token_name(name) is not None


def test_a_token_is_no_name() -> None:
    """A token given as a name is refused without being quoted."""
    text, _ = generate()
    for problem in (check_token_name(text), check_user_name(text)):
        assert problem is not None
        assert text not in problem


def test_invented_names_are_good() -> None:
    """An invented name is two words and passes its own check."""
    for _ in range(100):
        name = invent_token_name()
        assert check_token_name(name) is None
        assert len(name.split("-")) == 2


@given(st.text(max_size=80))
def test_any_text_is_judged(text: str) -> None:
    """No text makes a check raise."""
    for check in (check_user_name, check_token_name, check_email):
        check(text)
