"""authz.core.tokens."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.tokens import CoderToken, generate, has_token_shape, hash_secret, parse, proves

_ANY = st.text(max_size=60) | st.from_regex(r"[0-9A-Za-z]{9,11}-[0-9A-Za-z]{21,23}\n?")


def test_a_made_token_is_read_back() -> None:
    """Every generated token is unique, has Coder's form, and proves itself."""
    texts = set()
    for _ in range(200):
        text, token = generate()
        texts.add(text)
        assert parse(text) == token
        assert has_token_shape(text)
        assert proves(token, hashlib.sha256(text[11:].encode()).digest())
    assert len(texts) == 200


@given(_ANY)
def test_any_text_is_a_token_or_none(text: str) -> None:
    """The parser never raises, and what it takes has 10 and 22 of the 62 symbols."""
    token = parse(text)
    if token is not None:
        head, tail = text.split("-")
        assert (len(text), head, hash_secret(tail)) == (33, token.id, token.digest)
        assert text.isascii()
        assert text.replace("-", "").isalnum()
        assert has_token_shape(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "sk-ant-api03-abc",
        "ghp_0123456789",
        "a.b.c",
        f"{'a' * 10}-{'b' * 22}\n",
        f" {'a' * 10}-{'b' * 22}",
        f"{'a' * 10}-{'b' * 11}-{'b' * 10}",
        f"{'é' * 10}-{'b' * 22}",
        f"{'٣' * 10}-{'b' * 22}",
        f"{'a' * 11}-{'b' * 21}",
    ],
)
def test_other_credentials_are_no_tokens(text: str) -> None:
    """Provider keys and mutilated tokens are not taken for tokens."""
    assert parse(text) is None


def test_coders_looser_shape() -> None:
    """Any text that Coder's own parser accepts has a token's shape, whatever its characters."""
    assert has_token_shape(f"{'_' * 10}-{' ' * 22}")
    assert not has_token_shape(f"{'_' * 10}-{' ' * 23}")
    assert not has_token_shape(f"{'_' * 10}{' ' * 23}")


def test_a_token_does_not_show_its_secret() -> None:
    """Neither secret nor digest is in the repr."""
    text, token = generate()
    assert repr(token) == f"CoderToken(id={text[:10]!r})"
    assert not proves(token, hash_secret("x" * 22))
    assert not proves(CoderToken(token.id, b""), token.digest)
