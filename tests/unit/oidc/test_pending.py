"""authz.oidc.pending: the cookie of a sign-in."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from authz.oidc.pending import SECONDS, Pending

_NEARLY = st.from_regex(r"[0-9A-Za-z_-]{43}\.[0-9]{1,4}\.[a-z-]{0,3}\.[a-z/.]{0,4}", fullmatch=True)


@given(st.text(max_size=80) | _NEARLY)
def test_any_cookie(value: str) -> None:
    """Any cookie is read as it was written, or not at all."""
    pending = Pending.read(value, lambda: 1000)
    assert pending is None or pending.write() == value


def test_round_trip() -> None:
    """A cookie gives back the sign-in, until it is too old or from the future."""
    pending = Pending.begin("company", "/ui/usage", lambda: 1000)
    text = pending.write()
    assert Pending.read(text, lambda: 1000 + SECONDS) == pending
    assert Pending.read(text, lambda: 1001 + SECONDS) is None
    assert Pending.read(text, lambda: 999) is None
    assert Pending.read(f"{text} ", lambda: 1000) is None


def test_values_differ() -> None:
    """State, nonce and verifier differ from each other, by browser, provider and time."""
    one = Pending.begin("company", "", lambda: 1000)
    others = [
        one,
        Pending.begin("company", "", lambda: 1000),
        replace(one, provider="other"),
        replace(one, began_at=1001),
    ]
    values = [text for each in others for text in (each.state, each.nonce, each.verifier)]
    assert len(set(values)) == len(values)
    assert not any(text in one.write() for text in values)
