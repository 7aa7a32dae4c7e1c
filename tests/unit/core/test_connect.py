"""authz.core.connect: the decision on a CONNECT."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import tokens
from authz.core.connect import decide_connect, precheck_connect, read_password
from authz.core.decision_types import Allow, Deny
from authz.core.identity import Identity, Rejection
from authz.core.refusals import Reason
from authz.core.tokens import CoderToken

HEADER = "proxy-authorization"


def _basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("value", "password"),
    [
        (_basic("coder:secret"), "secret"),
        (_basic(":secret"), "secret"),
        (_basic("a:b:c"), "b:c"),
        (_basic("coder: x "), " x "),
        (_basic("coder:secret").replace(b"Basic", b"bASIC"), "secret"),
        (_basic("coder:secret").replace(b" ", b"\t  "), "secret"),
        (_basic("coder:"), None),
        (_basic("coder"), None),
        (_basic("coder:s\xe9cret"), None),
        (b"Basic", None),
        (b"", None),
        (b"Bearer abc", None),
        (b"Basic a:b", None),
        (b"Basic Y29kZXI6eA", None),
        (b"Basic Y29kZXI6eA==", "x"),
        (b"Basic Y29k\nZXI6eA==", None),
        (_basic("coder:secret") + b" x", None),
        (_basic("coder:secret") + b"," + _basic("coder:secret"), None),
    ],
)
def test_read_password(value: bytes, password: str | None) -> None:
    """The password is the text after the first colon of one well-formed Basic value."""
    assert read_password([("host", b"x"), (HEADER, value)]) == password


def test_two_headers() -> None:
    """Two headers give no password, even if they are equal."""
    good = (HEADER, _basic("coder:secret"))
    assert read_password([good, good]) is None
    assert read_password([]) is None


@given(user=st.text(alphabet=string.printable.replace(":", "")), password=st.text(min_size=1))
def test_any_password(user: str, password: str) -> None:
    """An ASCII password is read unchanged, and any other gives None, whatever the user name."""
    expected = password if password.isascii() else None
    assert read_password([(HEADER, _basic(f"{user}:{password}"))]) == expected


@given(value=st.binary())
def test_any_bytes(value: bytes) -> None:
    """Any bytes are read without an error, and never as an empty password."""
    assert read_password([(HEADER, value)]) != ""


def test_no_password_is_a_challenge() -> None:
    """Without a password, or with one that is not a token, the answer is 407 without a look-up."""
    missing, malformed = precheck_connect(None), precheck_connect("hunter2")
    assert isinstance(missing, Deny)
    assert isinstance(malformed, Deny)
    assert (missing.status, missing.reason) == (407, Reason.TOKEN_MISSING)
    assert (malformed.status, malformed.reason) == (407, Reason.TOKEN_MALFORMED)
    assert missing.message == malformed.message
    assert "hunter2" not in repr(malformed)


def test_token_is_found() -> None:
    """A password of a token's shape is the token to look up."""
    text, token = tokens.generate()
    assert precheck_connect(text) == token


def _token() -> CoderToken:
    found = tokens.parse(tokens.generate()[0])
    assert found is not None
    return found


@pytest.mark.parametrize("rejection", list(Rejection))
def test_rejected_token(rejection: Rejection) -> None:
    """Every rejected token gets the same text; the true reason is for the log."""
    denied = decide_connect(_token(), rejection)
    assert isinstance(denied, Deny)
    assert denied.status == 407
    assert denied.reason == rejection
    assert denied.message == "Proxy Authentication Required"


def test_good_token() -> None:
    """A good token is allowed without a provider so far, and the tunnel carries it."""
    token = _token()
    identity = Identity("1", "alice", "alice@example.com", token.id, "laptop", None)
    allowed = decide_connect(token, identity)
    assert isinstance(allowed, Allow)
    assert allowed.identity is identity
    assert allowed.provider is None
    assert allowed.mode is None
    assert allowed.header == "x-coder-ai-governance-token"
    assert allowed.credential == token.text
    assert allowed.hint == ""
