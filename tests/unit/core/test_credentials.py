"""authz.core.credentials."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.credentials import BadHeader, Credentials, read
from authz.core.header_names import (
    API_KEY,
    AUTHORIZATION,
    CREDENTIAL_HEADERS,
    GOVERNANCE,
    X_API_KEY,
    X_GOOG_API_KEY,
)
from authz.secret import Secret

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
OTHER = "Zbcdefghi1-Zbcdefghijklmnopqrstu2"

_names = st.sampled_from([*CREDENTIAL_HEADERS, ":path", "user-agent", "x-foo"])
_words = st.sampled_from(
    [b"Bearer", b"bearer", b"Basic", b"Digest", b" ", b"  ", b"\t", b",", TOKEN.encode(), b"sk-1"]
)
_values = st.binary(max_size=40) | st.lists(_words, max_size=6).map(b"".join)
_headers = st.lists(st.tuples(_names, _values), max_size=8)


@given(_headers)
def test_any_headers_are_read_or_refused(headers: list[tuple[str, bytes]]) -> None:
    """Reading raises BadHeader or nothing, and each credential is visible ASCII, never blank."""
    try:
        found = read(headers)
    except BadHeader:
        assert {name for name, _ in headers} & set(CREDENTIAL_HEADERS)
        return
    for secret in (
        found.governance,
        found.bearer,
        found.api_key,
        found.azure_key,
        found.google_key,
    ):
        if secret is not None:
            text = secret.reveal()
            assert text == text.strip() != ""
            assert all("\x20" <= character <= "\x7e" for character in text)
    assert not set(found.token_headers) & set(CREDENTIAL_HEADERS)


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60))
def test_only_bearer_is_a_credential(text: str) -> None:
    """Authorization is a credential exactly if it has two fields, the first of which is Bearer."""
    try:
        bearer = read([(AUTHORIZATION, text.encode())]).bearer
    except BadHeader:
        assert "," in text
        return
    fields = text.split()
    is_bearer = len(fields) == 2 and fields[0].lower() == "bearer"
    assert bearer == (Secret(fields[1]) if is_bearer else None)


@pytest.mark.parametrize(
    "text", ["Bearer", "Bearer a b", "Bearer a Bearer", "a Bearer", "a", "Bearera"]
)
def test_a_bearer_has_exactly_two_fields(text: str) -> None:
    """A Bearer value without exactly two fields is not a credential."""
    assert read([(AUTHORIZATION, text.encode())]) == Credentials()


@given(_values, st.sampled_from(["Basic", "Digest", "Token", "Bearerx", "xBearer", "Bearer:"]))
def test_another_scheme_is_no_credential(value: bytes, scheme: str) -> None:
    """A value with another scheme is never read as a Bearer token."""
    try:
        found = read([(AUTHORIZATION, scheme.encode() + b" " + value)])
    except BadHeader:
        return
    assert found == Credentials()


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
def test_a_credential_header_stands_once(header: str) -> None:
    """A repeated credential header is refused, even with the same or an empty value."""
    for second in (b"sk-1", b""):
        with pytest.raises(BadHeader, match="more than once") as caught:
            read([(header, b"sk-1"), ("x-foo", b"1"), (header, second)])
        assert caught.value.header == header


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("byte", [b"\x00", b"\x1f", b"\n", b"\r", b"\x7f", b"\x80", b"\xc3\xa4"])
def test_odd_bytes_in_a_credential_are_refused(header: str, byte: bytes) -> None:
    """Bytes that two readers could take differently are refused, and not repeated."""
    with pytest.raises(BadHeader, match="visible ASCII") as caught:
        read([(header, b"Bearer sk-secret" + byte)])
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize(
    "value", [b"Bearer\tsk-secret", b"Bearer sk-sec\tret", b"sk-secret\t", b"\t"]
)
def test_a_tab_in_a_credential_is_refused(header: str, value: bytes) -> None:
    """A tab in a credential is refused and named, because readers interpret it differently."""
    with pytest.raises(BadHeader, match="has a tab") as caught:
        read([(header, value)])
    assert "ret" not in caught.value.problem


def test_odd_bytes_elsewhere_are_nobodys_business() -> None:
    """Other headers may have any bytes and may be repeated."""
    assert read([("x-foo", b"\xff"), ("x-foo", b"\xff"), ("accept", b"a, b")]) == Credentials()


def test_joined_authorization_headers_are_refused() -> None:
    """A comma in Authorization is refused: it shows that a proxy joined two headers."""
    with pytest.raises(BadHeader, match="holds a comma, as it does when it is sent more than once"):
        read([(AUTHORIZATION, b"Bearer a, Bearer b")])


@pytest.mark.parametrize("blank", [b"", b" ", b"   "])
def test_blank_is_absent(blank: bytes) -> None:
    """A header with only white space is treated as absent."""
    names = (GOVERNANCE, AUTHORIZATION, X_API_KEY, API_KEY, X_GOOG_API_KEY)
    assert read([(name, blank) for name in names]) == Credentials()


def test_values_are_trimmed() -> None:
    """White space around a value is removed."""
    found = read([(GOVERNANCE, b"  a "), (AUTHORIZATION, b"  BEARER   b "), (X_API_KEY, b" c ")])
    assert found == Credentials(Secret("a"), Secret("b"), Secret("c"))


def test_a_provider_reads_its_own_headers_only() -> None:
    """A provider's header gives its own credential, and none gives the governance token."""
    found = Credentials(Secret("a"), Secret("b"), Secret("c"), Secret("d"), Secret("e"))
    assert found.named(AUTHORIZATION) == Secret("b")
    assert found.named(X_API_KEY) == Secret("c")
    assert found.named(API_KEY) == Secret("d")
    assert found.named(X_GOOG_API_KEY) == Secret("e")
    assert found.named(GOVERNANCE) is None
    assert found.named("cookie") is None


@pytest.mark.parametrize("source", [GOVERNANCE, AUTHORIZATION, X_API_KEY, API_KEY, X_GOOG_API_KEY])
def test_copies_of_a_coder_token_are_found(source: str) -> None:
    """Each other header with any user's Coder token is reported, and so is the path."""
    value = f"Bearer {TOKEN}" if source == AUTHORIZATION else TOKEN
    found = read(
        [
            (":path", f"/x?token={TOKEN}&y".encode()),
            ("x-foo", f"a {TOKEN}".encode()),
            (source, value.encode()),
            ("user-agent", OTHER.encode()),
            ("x-session", b"0d6ec7f4-9ea1-4d3c-8f0e-1f2e3d4c5b6a"),
        ]
    )
    assert sorted(found.token_headers) == [":path", "user-agent", "x-foo"]


@pytest.mark.parametrize(
    "text", [TOKEN.replace("-", "%2D"), TOKEN.replace("-", "%2d"), f"%{ord(TOKEN[0]):x}{TOKEN[1:]}"]
)
def test_an_escaped_copy_in_the_url_is_found(text: str) -> None:
    """An escaped token in the URL is found, because the provider or its logs would decode it."""
    path = f"/x?a=b&token={text}".encode()
    assert read([(":path", path), (X_API_KEY, TOKEN.encode())]).token_headers == (":path",)


def test_copies_of_other_credentials_are_left_alone() -> None:
    """A client may repeat a provider key; only copies of Coder tokens are reported."""
    assert read([(X_API_KEY, b"sk-1"), ("x-foo", b"sk-1")]).token_headers == ()


def test_credentials_do_not_show() -> None:
    """The repr of a request's credentials is masked."""
    text = repr(Credentials(Secret(TOKEN), Secret(OTHER), Secret("sk-ant-api03-secret-secret")))
    assert TOKEN[5:20] not in text
    assert OTHER[5:20] not in text
    assert "api03" not in text


@pytest.mark.parametrize(
    "value",
    [
        b"openai-insecure-api-key.sk-1",
        b"realtime, openai-insecure-api-key.sk-1",
        b"realtime,OPENAI-INSECURE-API-KEY.sk-1,x",
    ],
)
def test_a_key_as_a_subprotocol_is_refused(value: bytes) -> None:
    """An API key in a subprotocol is refused, because only credential headers are checked."""
    with pytest.raises(BadHeader, match="carries an API key") as caught:
        read([("sec-websocket-protocol", value)])
    assert "sk-1" not in str(caught.value)
    assert read([("sec-websocket-protocol", b"realtime, openai-beta.v1")]) == Credentials()


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
def test_joined_headers(header: str) -> None:
    """If Envoy joins headers, a comma or an exclamation mark makes a credential ambiguous."""
    for value in (b"a,b", b",a", b"a,", b"a!", b"!"):
        with pytest.raises(BadHeader) as caught:
            read([(header, value)], joined=True)
        assert caught.value.header == header
    if header != "authorization":
        read([(header, b"a,b!")])
    read([(header, b"Bearer a-b"), ("x-other", b"a,b!")], joined=True)
