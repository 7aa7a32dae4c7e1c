"""authz.core.device: codes and refresh tokens."""

import string

from hypothesis import given
from hypothesis import strategies as st

from authz.core import tokens
from authz.core.device import (
    LETTERS,
    new_device_code,
    new_refresh_token,
    new_user_code,
    read_refresh_token,
    read_user_code,
    shown_user_code,
)


def test_new_codes_differ() -> None:
    """Codes are random, and a user code has eight consonants."""
    codes = {new_user_code() for _ in range(50)}
    assert len(codes) == 50
    assert all(set(code) <= set(LETTERS) and len(code) == 8 for code in codes)
    assert len({new_device_code() for _ in range(50)}) == 50


@given(st.text(LETTERS, min_size=8, max_size=8), st.sampled_from(["", " ", "-", "  - "]))
def test_a_typed_code_is_read(code: str, between: str) -> None:
    """Case, spaces and hyphens do not matter."""
    assert read_user_code(f" {code[:4].lower()}{between}{code[4:]} ") == code
    assert read_user_code(shown_user_code(code)) == code


@given(st.text(max_size=30))
def test_any_text_is_a_code_or_none(text: str) -> None:
    """Any text is read as a code or as None, without an error."""
    code = read_user_code(text)
    assert code is None or (len(code) == 8 and set(code) <= set(LETTERS))


@given(st.text(string.ascii_letters + string.digits + ".-\0é", max_size=80))
def test_any_text_is_a_refresh_token_or_none(text: str) -> None:
    """Any text is read as None or as a token with the same text, without an error."""
    token = read_refresh_token(text)
    assert token is None or token.text == text


def test_the_next_token_is_derived() -> None:
    """The same token and seed give the same pair; another seed or token gives another one."""
    first = new_refresh_token("a" * 10)
    following, access = first.next(b"s" * 32)
    assert first.next(b"s" * 32) == (following, access)
    assert (following.id, following.family) == (first.id, first.family)
    assert len({first.secret, following.secret, access}) == 3
    assert first.next(b"t" * 32)[0].secret != following.secret
    assert following.next(b"s" * 32)[0].secret != following.secret
    assert tokens.parse(f"{first.id}-{access}") is not None
    assert read_refresh_token(following.text) == following


def test_a_refresh_token_is_no_coder_token_and_not_shown() -> None:
    """A refresh token can't be used as a token, and its secrets are not in its text for logs."""
    token = new_refresh_token("a" * 10)
    assert tokens.parse(token.text) is None
    assert token.secret not in repr(token)
    assert token.family not in repr(token)
