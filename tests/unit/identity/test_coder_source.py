"""authz.identity.coder_source: every answer of Coder, from a server that speaks as it does."""

import asyncio
from datetime import timedelta

import pytest

from authz.core.identity import Identity, Rejection
from authz.errors import IdentityUnavailable
from authz.identity.bad_tokens import PASSING_SECONDS
from authz.identity.coder_http import MAX_BODY
from authz.identity.coder_source import CoderSource
from tests.support.canned import (
    BUILD_INFO,
    INTERNAL_ERROR,
    NO_JSON,
    RATE_LIMITED,
    USERS_ME,
    Canned,
)
from tests.support.coder import Coder
from tests.support.coder_state import NOT_FOUND
from tests.unit.identity.asking import read, unknown

pytestmark = pytest.mark.usefixtures("patient")


async def test_valid(coder: Coder, coder_source: CoderSource) -> None:
    """A good token proves its owner, and goes to Coder in its own header, nowhere else."""
    text = coder.state.create_key("alice")
    alice = coder.state.user("alice")
    assert await coder_source.verify(read(text)) == Identity(
        user_id=alice.id,
        username="alice",
        email="alice@example.com",
        token_id=text[:10],
        token_name="",
        expires_at=None,
    )
    assert coder.tokens == [text]
    assert coder.calls == {USERS_ME: 1}


async def test_unknown_and_deleted(coder: Coder, coder_source: CoderSource) -> None:
    """An id that Coder does not know is refused, also right after its deletion."""
    assert await coder_source.verify(unknown()) is Rejection.UNKNOWN
    token = read(text := coder.state.create_key("alice"))
    assert isinstance(await coder_source.verify(token), Identity)
    coder.state.delete_key(text)
    assert await coder_source.verify(token) is Rejection.UNKNOWN


async def test_wrong_secret(coder: Coder, coder_source: CoderSource) -> None:
    """A known id with another secret is refused."""
    text = coder.state.create_key("alice")
    assert await coder_source.verify(read(f"{text[:10]}-{'x' * 22}")) is Rejection.WRONG_SECRET


async def test_expired(coder: Coder, coder_source: CoderSource) -> None:
    """An expired token is refused, whether its time has come or it was ended."""
    token = read(text := coder.state.create_key("alice", lifetime=timedelta(hours=3)))
    assert isinstance(await coder_source.verify(token), Identity)
    coder.state.expire_key(text)
    assert await coder_source.verify(token) is Rejection.EXPIRED
    other = read(coder.state.create_key("alice", lifetime=timedelta(hours=3)))
    coder.state.offset = timedelta(hours=3, seconds=1)
    assert await coder_source.verify(other) is Rejection.EXPIRED


async def test_suspended_and_deleted_users(coder: Coder, coder_source: CoderSource) -> None:
    """A user's state stops all their tokens at the next request, and lets them on again."""
    tokens = [read(coder.state.create_key("alice")) for _ in range(2)]
    coder.state.set_status("alice", "suspended")
    assert [await coder_source.verify(one) for one in tokens] == [Rejection.USER_INACTIVE] * 2
    coder.state.set_status("alice", "active")
    assert await coder_source.verify(tokens[0]) is Rejection.USER_INACTIVE
    await asyncio.sleep(PASSING_SECONDS)
    assert isinstance(await coder_source.verify(tokens[0]), Identity)
    coder.state.delete_user("alice")
    assert [await coder_source.verify(one) for one in tokens] == [Rejection.UNKNOWN] * 2


async def test_asking_re_activates_and_slides(coder: Coder, coder_source: CoderSource) -> None:
    """Asking Coder has side effects: a dormant user becomes active, and a session is extended."""
    coder.state.set_status("alice", "dormant")
    session = coder.state.create_key("alice", login_type="password")
    token = coder.state.create_key("alice")
    before = {key.id: key.expires_at for key in coder.state.keys.values()}
    coder.state.offset = timedelta(hours=23)
    for text in (session, token):
        assert isinstance(await coder_source.verify(read(text)), Identity)
    assert coder.state.user("alice").status == "active"
    after = coder.state.keys
    assert after[session[:10]].expires_at > before[session[:10]] + timedelta(hours=22)
    assert after[token[:10]].expires_at == before[token[:10]]


async def test_audience(coder: Coder, coder_source: CoderSource) -> None:
    """A token made for another audience is refused; any other 403 says nothing about it."""
    token = read(text := coder.state.create_key("alice"))
    coder.state.keys[text[:10]].audience_fails = True
    assert await coder_source.verify(token) is Rejection.AUDIENCE
    coder.canned[USERS_ME] = Canned.of(403, {"message": "Forbidden."})
    with pytest.raises(IdentityUnavailable, match="answered 403, and not as Coder"):
        await coder_source.verify(unknown())


async def test_narrow_scope(coder: Coder, coder_source: CoderSource) -> None:
    """A token that may not read its user is good, and Coder has to be identified only once."""
    token = read(coder.state.create_key("alice", scopes=["workspace:read"]))
    for _ in range(3):
        assert await coder_source.verify(token) == Identity("", "", "", token.id, "", None)
    assert coder.calls == {USERS_ME: 3, BUILD_INFO: 1}


async def test_a_404_of_something_else_is_no_allow(coder: Coder, coder_source: CoderSource) -> None:
    """A 404 with Coder's own words is no allow unless the server identifies itself as Coder."""
    coder.canned[USERS_ME] = Canned.of(404, {"message": NOT_FOUND})
    coder.canned[BUILD_INFO] = Canned.of(404, {"message": NOT_FOUND})
    for _ in range(2):
        with pytest.raises(IdentityUnavailable, match="buildinfo is not Coder's"):
            await coder_source.verify(unknown())
    assert coder.calls[BUILD_INFO] == 2, "a bad answer is not kept"
    del coder.canned[BUILD_INFO]
    coder.canned[USERS_ME] = Canned.of(404, {"message": "Route not found."})
    with pytest.raises(IdentityUnavailable, match="answered 404, and not as Coder"):
        await coder_source.verify(unknown())
    coder.canned[USERS_ME] = Canned(404, b"404 page not found\n", {"content-type": "text/plain"})
    with pytest.raises(IdentityUnavailable, match="answered 404"):
        await coder_source.verify(unknown())


@pytest.mark.parametrize(
    ("canned", "text"),
    [
        (RATE_LIMITED, "answered 429: its rate limit"),
        (INTERNAL_ERROR, "answered 500"),
        (Canned(502, b"bad gateway"), "answered 502"),
        (Canned(503), "answered 503"),
        (Canned(204), "answered 204"),
        (Canned(400, b"{}"), "answered 400"),
        (NO_JSON, "not a JSON object"),
        (Canned.of(200, []), "not a JSON object"),
        (Canned.of(200, {"id": "1", "username": "alice"}), "not a user"),
        (Canned.of(200, {"pad": "x" * MAX_BODY}), "not a JSON object"),
        (Canned(200, b"{}", {"content-encoding": "gzip"}), "not a JSON object"),
        (Canned(200, b"{}", {"content-length": "99"}), "not a JSON object"),
        (Canned(200, b"", {"x": "y" * 100_000}), "its answer is not HTTP"),
    ],
)
async def test_answers_that_say_nothing(
    coder: Coder, coder_source: CoderSource, canned: Canned, text: str
) -> None:
    """An answer that says nothing about the token is no allow or rejection; the error names it."""
    token = read(secret := coder.state.create_key("alice"))
    await coder_source.verify(token)
    coder.canned[USERS_ME] = canned
    with pytest.raises(IdentityUnavailable, match=text) as caught:
        await coder_source.verify(token)
    assert secret[11:] not in repr(caught.getrepr(style="long", showlocals=False))
    coder.canned.clear()
    assert isinstance(await coder_source.verify(token), Identity), "it recovers by itself"


async def test_a_401_counts_whatever_its_body(coder: Coder, coder_source: CoderSource) -> None:
    """A revoked token is refused even when a proxy replaces Coder's body by its own."""
    for body in (b"<html>Sign in</html>", b"x" * (MAX_BODY + 1)):
        coder.canned[USERS_ME] = Canned(401, body, {"content-type": "text/html"})
        assert await coder_source.verify(unknown()) is Rejection.UNKNOWN


async def test_rate_limit_of_one_user(coder: Coder, coder_source: CoderSource) -> None:
    """A user who has reached Coder's rate limit does not hold up other users."""
    coder.state.create_user("bob")
    alice, bob = (read(coder.state.create_key(name)) for name in ("alice", "bob"))
    coder.rate_limit = {"alice": 2, "bob": 100}
    assert isinstance(await coder_source.verify(alice), Identity)
    assert isinstance(await coder_source.verify(alice), Identity)
    with pytest.raises(IdentityUnavailable, match="429"):
        await coder_source.verify(alice)
    assert isinstance(await coder_source.verify(bob), Identity)


async def test_ready(coder: Coder, coder_source: CoderSource) -> None:
    """The source is ready if the server answers as Coder does; the check sends no token."""
    await coder_source.check_ready()
    assert coder.tokens == []
    for canned in (NO_JSON, Canned.of(200, {}), INTERNAL_ERROR):
        coder.canned[BUILD_INFO] = canned
        with pytest.raises(IdentityUnavailable, match="not as a Coder server"):
            await coder_source.check_ready()
