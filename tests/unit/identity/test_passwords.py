"""authz.identity.passwords."""

import pytest

from authz.identity import passwords
from authz.identity.passwords import check_password, hash_password, proves_password
from authz.secret import Secret

GOOD = Secret("correct horse battery")


def test_a_password_proves_itself() -> None:
    """The stored hash is argon2id, differs each time, and matches only its password."""
    first, second = hash_password(GOOD), hash_password(GOOD)
    assert first.startswith(b"$argon2id$v=19$m=65536,t=3,p=4$")
    assert first != second
    assert proves_password(GOOD, first)
    assert not proves_password(Secret("correct horse batterz"), first)
    assert GOOD.reveal().encode() not in first


@pytest.mark.parametrize("stored", [None, b"", b"no hash", b"$argon2id$v=19$", b"\xff\xfe"])
def test_no_hash_is_proven_by_nothing(stored: bytes | None) -> None:
    """No password matches a missing user, a user without a password, or a damaged row."""
    assert not proves_password(GOOD, stored)
    assert not proves_password(Secret("the password of nobody"), stored)


def test_a_missing_user_costs_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash with the same parameters is computed for a missing user, so timing reveals nothing."""
    asked: list[bytes] = []
    verify = passwords._hasher().verify

    def noting(_hasher: object, stored: bytes, given: bytes) -> bool:
        asked.append(stored)
        return bool(verify(stored, given))

    monkeypatch.setattr(type(passwords._hasher()), "verify", noting)
    for stored in (None, b"", hash_password(GOOD)):
        proves_password(GOOD, stored)
    assert len({text.rsplit(b"$", 2)[0] for text in asked}) == 1
    assert len(asked) == 3


@pytest.mark.parametrize(
    "password", ["short", "x" * 129, "tab\tinside", "aliceALICE", "aaaaaaaaaa", ""]
)
def test_bad_passwords_are_refused_without_quoting(password: str) -> None:
    """A password that is too short, too long, unprintable or simple is refused and not quoted."""
    problem = check_password(Secret(password), "AliceAlice")
    assert problem is not None
    assert not password or password not in problem
    assert check_password(GOOD, "alice") is None
