"""authz.identity.coder_answer: which answers count as Coder's own statements."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.identity import Identity, Rejection
from authz.errors import IdentityUnavailable, IdentityUnreachable
from authz.identity.coder_answer import (
    Answer,
    RateLimited,
    is_build_info,
    is_final,
    is_narrow,
    read_user,
)
from tests.support.coder_state import NOT_FOUND, SIGNED_OUT

USER = {
    "id": "4c3b0f6e-2a15-4b7e-9d0a-7e4c2f5a6b1d",
    "username": "alice",
    "email": "alice@example.com",
    "status": "active",
}
JSON = "application/json; charset=utf-8"


def answer(status: int, body: Any, content_type: str = JSON) -> Answer:
    """Make an answer; a body that is not bytes is encoded as JSON."""
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return Answer(status, content_type, raw)


@pytest.mark.parametrize(
    ("message", "detail", "rejection"),
    [
        (SIGNED_OUT, "API key is invalid.", Rejection.UNKNOWN),
        (SIGNED_OUT, "API key secret is invalid.", Rejection.WRONG_SECRET),
        (SIGNED_OUT, 'API key expired at "2026-01-01 00:00:00 +0000 UTC".', Rejection.EXPIRED),
        (SIGNED_OUT, "You must re-authenticate with the login provider.", Rejection.LOGIN_EXPIRED),
        (SIGNED_OUT, "OIDC session expired at 2026-01-01.", Rejection.LOGIN_EXPIRED),
        ("Could not refresh expired OIDC token. Try again.", "", Rejection.LOGIN_EXPIRED),
        ('User is not active (status = "suspended"). Contact', "", Rejection.USER_INACTIVE),
        ("Something new.", "In a later release.", Rejection.UNKNOWN),
    ],
)
def test_reasons_of_a_401(message: str, detail: str, rejection: Rejection) -> None:
    """Coder's text gives the reason for the logs; a text that is new is a rejection too."""
    assert read_user(answer(401, {"message": message, "detail": detail}), "id") is rejection


@pytest.mark.parametrize("body", [b"<html>", b"", None, [], {"detail": 7}, b"[" * 60_000])
def test_every_401_is_a_rejection(body: Any) -> None:
    """A 401 whose body was replaced or lost on the way still says that the token is bad."""
    assert read_user(answer(401, body), "id") is Rejection.UNKNOWN


@pytest.mark.parametrize(
    ("status", "message", "final"),
    [
        (401, "API key is invalid.", True),
        (401, "API key secret is invalid.", True),
        (401, 'API key expired at "2026-01-01 00:00:00 +0000 UTC".', True),
        (401, 'User is not active (status = "suspended"). Contact', False),
        (401, "You must re-authenticate with the login provider.", False),
        (401, "Sign in to the proxy.", False),
        (403, "API key is invalid.", False),
    ],
)
def test_what_lasts(status: int, message: str, final: bool) -> None:
    """A refusal is final only in Coder's own words for a token that can't become good again."""
    assert is_final(answer(status, {"message": SIGNED_OUT, "detail": message})) is final


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 502, 503, 504, 302, 200])
@pytest.mark.parametrize("is_coders", [True, False])
def test_which_answer_is_an_outage(status: int, is_coders: bool) -> None:
    """Only a proxy's 502, 503 or 504 is an outage; an answer from Coder itself never is."""
    sent = Answer(status, JSON, b"[]", is_coders=is_coders)
    with pytest.raises(IdentityUnavailable) as caught:
        read_user(sent, "id")
    is_away = status in (502, 503, 504) and not is_coders
    assert isinstance(caught.value, IdentityUnreachable) is is_away
    assert isinstance(caught.value, RateLimited) is (status == 429)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": 7},
        {"id": "alice"},
        {"id": "{4c3b0f6e-2a15-4b7e-9d0a-7e4c2f5a6b1d}"},
        {"username": None},
        {"username": ""},
        {"username": 7},
        {"username": "alice\r\nx-admin: 1"},
        {"username": "a" * 513},
    ],
)
def test_a_200_without_a_user_allows_nobody(change: dict[str, Any]) -> None:
    """A 200 counts only if it has a user's UUID and a printable name."""
    with pytest.raises(IdentityUnavailable, match="not a user"):
        read_user(answer(200, USER | change), "id")


def test_unknown_fields_and_a_missing_email_are_fine() -> None:
    """Unknown fields of later releases are ignored, and a missing e-mail address is accepted."""
    verification = read_user(answer(200, USER | {"email": None, "new": {"a": []}}), "0123456789")
    assert verification == Identity(str(USER["id"]), "alice", "", "0123456789", "", None)


@pytest.mark.parametrize(
    ("status", "verification"),
    [("active", Identity), ("dormant", Identity), ("suspended", Rejection)],
)
def test_the_user_s_state(status: str, verification: type) -> None:
    """Suspended is refused; dormant passes, because the call itself has re-activated the user."""
    assert isinstance(read_user(answer(200, USER | {"status": status}), "id"), verification)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "c42fdf75-3097-471c-8c33-fb52454d81c0"},
        {"id": "C42FDF75-3097-471C-8C33-FB52454D81C0", "email": None},
        {"email": "another@system"},
    ],
)
def test_a_system_user_is_refused(change: dict[str, Any]) -> None:
    """A token of Coder's own user is refused, as the database's source refuses it."""
    assert read_user(answer(200, USER | change), "id") is Rejection.USER_SYSTEM


@pytest.mark.parametrize("body", [b"<html>", b"", None, [], "text", b"\xff", b"[" * 60_000])
def test_a_200_that_is_no_object_allows_nobody(body: Any) -> None:
    """A login page with status 200 says nothing about the token."""
    with pytest.raises(IdentityUnavailable, match="not a JSON object"):
        read_user(answer(200, body), "id")


@pytest.mark.parametrize("end", ["", "."])
@pytest.mark.parametrize("more", [{}, {"detail": ""}, {"detail": "x", "validations": None}])
def test_narrow(end: str, more: dict[str, Any]) -> None:
    """The 404 of a narrow scope is known with and without its final period."""
    assert is_narrow(answer(404, {"message": NOT_FOUND + end} | more))


@pytest.mark.parametrize(
    "almost",
    [
        answer(404, {"message": NOT_FOUND}, "text/plain"),
        answer(404, {"message": NOT_FOUND}, ""),
        answer(403, {"message": NOT_FOUND}),
        answer(200, {"message": NOT_FOUND}),
        answer(404, {"message": NOT_FOUND + ".."}),
        answer(404, {"message": NOT_FOUND.lower()}),
        answer(404, {"message": "Not Found"}),
        answer(404, {"message": [NOT_FOUND]}),
        answer(404, {"message": NOT_FOUND, "path": "/api/v2/users/me"}),
        answer(404, {"message": NOT_FOUND, "detail": 1}),
        answer(404, {"message": NOT_FOUND, "validations": {"a": 1}}),
        answer(404, [{"message": NOT_FOUND}]),
        answer(404, NOT_FOUND),
        answer(404, NOT_FOUND.encode()),
        answer(404, None),
    ],
)
def test_almost_narrow(almost: Answer) -> None:
    """An answer that differs in status, type, words or keys is not the narrow scope's 404."""
    assert not is_narrow(almost)


@pytest.mark.parametrize(
    ("status", "body", "is_coder"),
    [
        (200, {"version": "v2.36.0", "external_url": "https://github.com/coder/coder"}, True),
        (200, {"version": "v2.36.0", "external_url": "u", "workspace_proxy": True}, False),
        (200, {"version": "v2.36.0"}, False),
        (200, {"version": 1, "external_url": "u"}, False),
        (404, {"version": "v2.36.0", "external_url": "u"}, False),
        (200, [], False),
        (200, b"<html>", False),
    ],
)
def test_build_info(status: int, body: Any, is_coder: bool) -> None:
    """A Coder server names its version and its source; a workspace proxy has no users."""
    assert is_build_info(answer(status, body)) is is_coder


_VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from(list(USER.values()))
_BODIES = st.dictionaries(
    st.sampled_from(["id", "username", "email", "status", "message", "detail", "x"]),
    _VALUES | st.text() | st.lists(_VALUES) | st.just(NOT_FOUND),
)


@given(status=st.integers(100, 599), body=_BODIES | st.binary(), content_type=st.text())
def test_nothing_but_a_user_allows(status: int, body: Any, content_type: str) -> None:
    """Whatever a server sends, only a 200 with a user in it is an identity."""
    sent = answer(status, body, content_type)
    try:
        verification = read_user(sent, "id")
    except IdentityUnavailable:
        assert status != 401
        return
    if isinstance(verification, Identity):
        assert status == 200
        assert body["id"] == verification.user_id == USER["id"]
        assert body["username"] == verification.username
        assert body.get("status") != "suspended"
    else:
        assert status in (200, 401, 403)
