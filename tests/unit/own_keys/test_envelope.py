"""authz.own_keys.envelope."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.own_keys.envelope import BadEnvelope, MasterKey, key_id_of
from authz.secret import Secret

KEY, OTHER = (MasterKey(bytes([number]) * 32) for number in (1, 2))
USER, PROVIDER = "0f3a9b7c-0000-4000-8000-000000000001", "anthropic"
# One for all examples: their choices must not depend on its random bytes.
ENVELOPE = KEY.seal(Secret("sk-ant-own-0123456789"), USER, PROVIDER)
STORED = (
    "v1.eae4cdcae507f832.kvgGzP1cX5NBoP5udJ_qkCspXvPM9Y7kvWNhHeduZ6RGoHLGiAf5tE4HKNeB"
    "bhhBxvj5bqTle-GGk7q6.iw5A2P-Iww7m0YPU3ePg0IKcHlLcg__LKWO8F0MZAcE2j35DclYJui-ES22"
    "IdboSTHs_FaU"
)
TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=300)


@given(TEXT)
def test_a_key_comes_back(text: str) -> None:
    """The envelope of any key opens for its own record, and never shows the key."""
    envelope = KEY.seal(Secret(text), USER, PROVIDER)
    assert KEY.open(envelope, USER, PROVIDER).reveal() == text
    assert key_id_of(envelope) == KEY.id
    assert len(text) < 4 or text not in envelope
    assert envelope.isascii()
    assert " " not in envelope


@given(st.data())
def test_a_changed_envelope_does_not_open(data: st.DataObject) -> None:
    """A changed, missing or further character is an error that does not quote the text."""
    envelope = ENVELOPE
    place = data.draw(st.integers(0, len(envelope) - 1))
    other = data.draw(st.sampled_from("Aa0_-.=\u00e9 ").filter(lambda new: new != envelope[place]))
    cut = envelope[:place]
    for changed in (cut + other + envelope[place + 1 :], cut, cut + other + envelope[place:]):
        with pytest.raises(BadEnvelope) as caught:
            KEY.open(changed, USER, PROVIDER)
        assert envelope[30:60] not in str(caught.value)


@given(st.text(max_size=200))
def test_other_text_is_no_envelope(text: str) -> None:
    """Any other text is refused by its format."""
    with pytest.raises(BadEnvelope):
        key_id_of(text)


@pytest.mark.parametrize(
    ("user", "provider"),
    [(USER.replace("1", "2"), PROVIDER), (USER, "openai"), ("", ""), (USER + PROVIDER, "")],
)
def test_an_envelope_is_bound_to_its_record(user: str, provider: str) -> None:
    """A copy in the record of another user or provider does not open."""
    with pytest.raises(BadEnvelope, match="belongs to another record"):
        KEY.open(KEY.seal(Secret("sk-own"), USER, PROVIDER), user, provider)


def test_another_master_key_does_not_open() -> None:
    """An envelope says which master key it needs; with a forged id it does not open either."""
    envelope = KEY.seal(Secret("sk-own"), USER, PROVIDER)
    with pytest.raises(BadEnvelope, match="another master key"):
        OTHER.open(envelope, USER, PROVIDER)
    with pytest.raises(BadEnvelope, match="damaged"):
        OTHER.open(envelope.replace(KEY.id, OTHER.id), USER, PROVIDER)


def test_each_envelope_differs() -> None:
    """The same key twice gives two envelopes: nonces and data keys are random."""
    first, second = (KEY.seal(Secret("sk-own"), USER, PROVIDER) for _ in range(2))
    assert first != second


def test_the_format_stays() -> None:
    """An envelope of an earlier version opens, because users have stored them."""
    assert KEY.open(STORED, USER, PROVIDER).reveal() == "sk-ant-own-stored-earlier"


@pytest.mark.parametrize("text", ["", "short", "A" * 44, base64.b64encode(b"1" * 31).decode()])
def test_a_master_key_has_32_bytes(text: str) -> None:
    """Text of another length or format is an error without the text, with the cure."""
    with pytest.raises(ValueError, match="openssl rand -base64 32") as caught:
        MasterKey.parse(text)
    assert not text or text not in str(caught.value)


def test_a_master_key_shows_its_id_only() -> None:
    """The representation of a master key has its id and nothing of the key."""
    text = base64.b64encode(bytes(range(32))).decode()
    key = MasterKey.parse(text)
    assert repr(key) == f"MasterKey({key.id})"
    assert bytes(range(32)).hex()[:8] not in key.id
