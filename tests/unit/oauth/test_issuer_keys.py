"""The keys of an issuer are fetched, cached and rotated, and its documents are not trusted."""

import asyncio
import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz import fetcher as documents
from authz.fetcher import MAX_BYTES, IssuerUnavailable
from authz.oauth.issuers import Issuer
from authz.oauth.keys import read_keys
from authz.secret import Secret
from tests.support.certificates import Authority
from tests.support.issuer import AUDIENCE, IssuerServer, new_key
from tests.support.pair import wait_until
from tests.support.threaded import served
from tests.unit.oauth.conftest import Clock
from tests.unit.oauth.endpoint import refusal


def encoded(value: bytes) -> str:
    """Return the base64url of a value, without padding."""
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


async def test_rotation(issuer: Issuer, server: IssuerServer, clock: Clock) -> None:
    """A new key is fetched when a JWT names it, and a withdrawn key ends within an hour."""
    old = server.sign(exp=99_999_999_999)
    assert await issuer.verify(Secret(old), AUDIENCE)
    server.keys[:] = [new_key("two")]
    clock.ahead = 31
    assert await issuer.verify(Secret(server.sign()), AUDIENCE)
    assert await refusal(issuer, old) == "the issuer has no such signing key"


async def test_unknown_keys_do_not_flood_the_issuer(issuer: Issuer, server: IssuerServer) -> None:
    """Many JWTs with invented keys cause one look at the issuer's keys in 30 s."""
    await asyncio.gather(
        *(refusal(issuer, server.sign(header={"kid": f"invented-{n}"})) for n in range(20))
    )
    assert server.calls.count("/keys") == 1


async def test_the_issuer_is_down(issuer: Issuer, server: IssuerServer, clock: Clock) -> None:
    """Known keys work for a day without the issuer, and no longer."""
    text = server.sign(exp=99_999_999_999)
    server.status = 503
    with pytest.raises(IssuerUnavailable):
        await issuer.verify(Secret(text), AUDIENCE)
    server.status, clock.ahead = 200, 31
    assert await issuer.verify(Secret(text), AUDIENCE)
    server.status, clock.ahead = 503, 20 * 3600
    assert await issuer.verify(Secret(text), AUDIENCE)
    clock.ahead = 25 * 3600
    with pytest.raises(IssuerUnavailable):
        await issuer.verify(Secret(text), AUDIENCE)


async def test_a_new_key_while_the_issuer_is_down(
    issuer: Issuer, server: IssuerServer, clock: Clock
) -> None:
    """A JWT with an unknown key is not refused for good while the keys can't be fetched."""
    known = server.sign()
    assert await issuer.verify(Secret(known), AUDIENCE)
    server.status, clock.ahead = 503, 31
    with pytest.raises(IssuerUnavailable):
        await issuer.verify(Secret(server.sign(new_key("two"))), AUDIENCE)
    assert await issuer.verify(Secret(known), AUDIENCE)


async def test_a_slow_issuer(
    issuer: Issuer, server: IssuerServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer that takes too long is given up, and delays no JWT with a known key."""
    known = server.sign(exp=99_999_999_999)
    assert await issuer.verify(Secret(known), AUDIENCE)
    monkeypatch.setattr(documents, "SECONDS", 60)
    server.delay, clock.ahead = 120, 3700
    new = Secret(server.sign(new_key("two")))
    waiting = asyncio.create_task(issuer.verify(new, AUDIENCE))
    await asyncio.to_thread(wait_until, lambda: server.calls[2:])
    assert await issuer.verify(Secret(known), AUDIENCE)
    assert not waiting.done()
    waiting.cancel()
    monkeypatch.setattr(documents, "SECONDS", 0.2)
    clock.ahead += 31
    with pytest.raises(IssuerUnavailable):
        await issuer.verify(new, AUDIENCE)


async def test_metadata_is_not_asked_for_again_and_again(
    issuer: Issuer, server: IssuerServer, clock: Clock
) -> None:
    """While the issuer is down, its metadata is asked for once in 5 s."""
    server.status = 500
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            await issuer.metadata()
    assert len(server.calls) == 1
    server.status, clock.ahead = 200, 6
    assert (await issuer.metadata())["issuer"] == server.url
    assert (await issuer.metadata())["issuer"] == server.url
    assert len(server.calls) == 2


async def test_documents_that_can_not_be_used(issuer: Issuer, server: IssuerServer) -> None:
    """A huge, broken or empty document of keys is refused."""
    keys = json.dumps({"keys": [server.key.as_dict(private=False)]}).encode()
    for document in (keys + b" " * MAX_BYTES, b"{", b"[]", b'{"keys": []}', b'{"keys": 1}'):
        server.jwks = document
        fresh = Issuer(server.url, ca_file=None)
        fresh._fetcher = issuer._fetcher
        with pytest.raises(IssuerUnavailable):
            await fresh.verify(Secret(server.sign()), AUDIENCE)


async def test_a_private_ca_that_is_not_configured(server: IssuerServer) -> None:
    """The error of the first and of each later JWT names the setting that is missing."""
    issuer = Issuer(server.url)
    try:
        for _ in range(2):
            with pytest.raises(IssuerUnavailable, match=r"refused: .* \(ca_file names"):
                await issuer.verify(Secret(server.sign()), AUDIENCE)
    finally:
        await issuer.close()


async def test_metadata_of_another_issuer(issuer: Issuer, server: IssuerServer) -> None:
    """Metadata that names another issuer, or keys without TLS, are refused."""
    for changed in (
        {"issuer": "https://other.test"},
        {"jwks_uri": "http://keys.test/"},
        {"jwks_uri": "http://127.0.0.1:1/"},
        {"jwks_uri": "https://user:password@127.0.0.1/"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://a..b/keys"},
        {"jwks_uri": f"https://{'a' * 300}/keys"},
        {"jwks_uri": "https://127.0.0.1:1/a b\r\nx: y"},
        {"jwks_uri": "https://[::1/keys"},
        {"jwks_uri": 1},
    ):
        server.metadata = changed
        fresh = Issuer(server.url)
        fresh._fetcher = issuer._fetcher
        with pytest.raises(IssuerUnavailable):
            await fresh.verify(Secret(server.sign()), AUDIENCE)


async def test_keys_without_tls(issuer: Issuer, server: IssuerServer) -> None:
    """An issuer on another machine can't send authz to a server of this machine without TLS."""
    with served(server.app()) as port:
        server.metadata = {"jwks_uri": f"http://127.0.0.1:{port}/keys"}
        with pytest.raises(IssuerUnavailable):
            await issuer.verify(Secret(server.sign()), AUDIENCE)
    assert "/keys" not in server.calls


async def test_redirects_are_not_followed(issuer: Issuer, server: IssuerServer) -> None:
    """A redirect of the keys' URL is not followed."""
    server.metadata = {"jwks_uri": f"{server.url}/elsewhere"}
    with pytest.raises(IssuerUnavailable):
        await issuer.verify(Secret(server.sign()), AUDIENCE)
    assert "/keys" not in server.calls


async def test_an_untrusted_certificate(server: IssuerServer) -> None:
    """An issuer whose certificate is not trusted gives no keys."""
    stranger = Issuer(server.url)
    with pytest.raises(IssuerUnavailable):
        await stranger.verify(Secret(server.sign()), AUDIENCE)
    await stranger.close()


async def test_keys_in_a_file(
    server: IssuerServer, issuer_authority: Authority, tmp_path: Path
) -> None:
    """A file of keys replaces the issuer's server, and is read again when it changes."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [server.key.as_dict(private=False)]}))
    issuer = Issuer(server.url, jwks_file=path)
    assert await issuer.verify(Secret(server.sign()), AUDIENCE)
    server.keys[:] = [new_key("rotated")]
    path.write_text(json.dumps({"keys": [server.key.as_dict(private=False)], "new": 1}))
    assert await issuer.verify(Secret(server.sign()), AUDIENCE)
    assert server.calls == []
    await issuer.close()


_MEMBER = st.none() | st.integers() | st.sampled_from(["", "AQAB", "x", "P-256", "Ed25519"])
_KEY = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct", 1, None])},
    optional={
        name: _MEMBER | st.binary(min_size=32, max_size=33).map(encoded)
        for name in ("n", "e", "d", "crv", "x", "y", "k", "kid", "alg", "use", "key_ops", "x5c")
    },
)


@given(st.lists(_KEY | _MEMBER, max_size=3) | _MEMBER)
def test_any_keys(entries: object) -> None:
    """Keys of any shape are read, skipped or refused with one error, and no other exception."""
    with contextlib.suppress(IssuerUnavailable):
        assert read_keys({"keys": entries})
