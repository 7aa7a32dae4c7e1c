"""JWTs are verified as RFC 8725 asks, with keys that come from the issuer and rotate."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning
from joserfc.jwk import OctKey, RSAKey

from authz.oauth.documents import MAX_BYTES, IssuerUnavailable
from authz.oauth.issuers import InvalidJwt, Issuer, issuer_of
from authz.secret import Secret
from tests.support.certificates import Authority
from tests.support.issuer import AUDIENCE, IssuerServer, new_key
from tests.unit.oauth.conftest import Clock


async def refusal(issuer: Issuer, text: str) -> str:
    """Return the reason why a JWT is not valid."""
    with pytest.raises(InvalidJwt) as caught:
        await issuer.verify(Secret(text), AUDIENCE)
    return str(caught.value)


async def test_a_valid_jwt(issuer: Issuer, server: IssuerServer) -> None:
    """A JWT that the issuer signed for this audience gives its claims."""
    claims = await issuer.verify(Secret(server.sign(groups=["a"])), AUDIENCE)
    assert claims["sub"].startswith("repo:acme/app")
    assert claims["groups"] == ["a"]


async def test_several_audiences(issuer: Issuer, server: IssuerServer) -> None:
    """One of several audiences is enough."""
    assert await issuer.verify(Secret(server.sign(aud=["https://b", AUDIENCE])), AUDIENCE)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": "https://other.test"}, "its aud claim is not accepted"),
        ({"aud": ["https://other.test"]}, "its aud claim is not accepted"),
        ({"aud": None}, "its aud claim is not accepted"),
        ({"iss": "https://other.test"}, "its iss claim is not accepted"),
        ({"exp": None}, "its exp claim is not accepted"),
        ({"exp": 1}, "its exp claim is not accepted"),
        ({"exp": "tomorrow"}, "its exp claim is not accepted"),
        ({"nbf": 99_999_999_999}, "its nbf claim is not accepted"),
        ({"iat": 99_999_999_999}, "its iat claim is not accepted"),
    ],
)
async def test_claims(
    issuer: Issuer, server: IssuerServer, changed: dict[str, Any], reason: str
) -> None:
    """A JWT for another audience, of another issuer or of another time is refused."""
    assert await refusal(issuer, server.sign(**changed)) == reason


async def test_clock_skew(issuer: Issuer, server: IssuerServer, clock: Clock) -> None:
    """A difference of half a minute between the clocks does no harm, one of two minutes does."""
    text = server.sign()
    clock.ahead = -30
    assert await issuer.verify(Secret(text), AUDIENCE)
    clock.ahead = -120
    assert await refusal(issuer, text) == "its iat claim is not accepted"
    clock.ahead = 330
    assert await issuer.verify(Secret(text), AUDIENCE)
    clock.ahead = 420
    assert await refusal(issuer, text) == "its exp claim is not accepted"


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _unsigned(server: IssuerServer, header: dict[str, Any], signature: str = "") -> str:
    return f"{_segment(header)}.{_segment(server.claims())}.{signature}"


async def test_without_a_signature(issuer: Issuer, server: IssuerServer) -> None:
    """No spelling of "none" is an accepted algorithm (RFC 8725 section 3.1)."""
    for algorithm in ("none", "None", "NONE", "", None, ["ES256"], 1):
        header = {"alg": algorithm, "kid": server.key.kid}
        reason = await refusal(issuer, _unsigned(server, header))
        assert reason in ("its signature algorithm is not accepted", "it is not a JWT")
    assert await refusal(issuer, server.sign().rpartition(".")[0] + ".")


async def test_a_public_key_signs_nothing(issuer: Issuer, server: IssuerServer) -> None:
    """An HMAC with the public key as its secret is refused (RFC 8725 section 2.1)."""
    public = json.dumps(server.key.as_dict(private=False)).encode()
    for secret in (public, server.key.as_pem(private=False)):
        key = OctKey.import_key(base64.b64encode(secret).decode(), {"kid": server.key.kid})
        text = server.sign(key, {"alg": "HS256"})
        assert await refusal(issuer, text) == "its signature algorithm is not accepted"


async def test_a_symmetric_key_in_the_document(issuer: Issuer, server: IssuerServer) -> None:
    """A published symmetric key is not used, although its kid fits."""
    secret = OctKey.generate_key(256, {"kid": "secret"})
    keys = [secret.as_dict(), server.key.as_dict(private=False)]
    server.jwks = json.dumps({"keys": keys}).encode()
    assert await refusal(issuer, server.sign(header={"kid": "secret"})) == (
        "the issuer has no such signing key"
    )
    assert await issuer.verify(Secret(server.sign()), AUDIENCE)


async def test_keys_in_the_header(issuer: Issuer, server: IssuerServer) -> None:
    """A key or a URL of keys in the JWT's own header proves nothing."""
    own = new_key(server.key.kid or "")
    for header in (
        {"jwk": own.as_dict(private=False)},
        {"jku": f"{server.url}/mine"},
        {"x5u": f"{server.url}/mine"},
    ):
        assert await refusal(issuer, server.sign(own, header)) == "bad signature"
    assert "/mine" not in server.calls


@pytest.mark.parametrize("kid", ["../../../dev/null", "' OR 1=1 --", "", "two", None])
async def test_unknown_kid(issuer: Issuer, server: IssuerServer, kid: str | None) -> None:
    """A kid names one of the issuer's keys; without one there must be only one key."""
    server.keys.append(new_key("other"))
    assert await refusal(issuer, server.sign(header={"kid": kid}))


async def test_a_kid_that_is_no_text(issuer: Issuer, server: IssuerServer) -> None:
    """A kid of another JSON type is refused."""
    for kid in (["one"], {"a": 1}, 1, True):
        text = _unsigned(server, {"alg": "ES256", "kid": kid}, "AAAA")
        assert await refusal(issuer, text) in ("its kid is not text", "it is not a JWT")


async def test_critical_extensions(issuer: Issuer, server: IssuerServer) -> None:
    """An extension that the header calls critical is refused, also the one for raw payloads."""
    for header in ({"crit": ["b64"], "b64": False}, {"crit": ["exp"], "exp": 1}):
        text = _unsigned(server, {"alg": "ES256", "kid": server.key.kid, **header}, "AAAA")
        assert "extensions" in await refusal(issuer, text)


async def test_a_name_that_appears_twice(issuer: Issuer, server: IssuerServer) -> None:
    """Claims in which a name appears twice are refused, though the signature is right."""
    from joserfc import jws

    claims = json.dumps(server.claims())
    twice = claims[:-1] + ', "sub": "repo:evil/app"}'
    header = {"alg": "ES256", "kid": server.key.kid}
    text = jws.serialize_compact(header, twice, server.key, algorithms=["ES256"])
    assert await refusal(issuer, text)


async def test_short_keys(issuer: Issuer, server: IssuerServer) -> None:
    """An RSA key of 1024 bits is not used."""
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1024, {"kid": "short", "use": "sig"})
    server.jwks = json.dumps({"keys": [short.as_dict(private=False)]}).encode()
    with pytest.raises(IssuerUnavailable):
        await issuer.verify(Secret(server.sign(header={"kid": "short"})), AUDIENCE)


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


async def test_documents_that_can_not_be_used(issuer: Issuer, server: IssuerServer) -> None:
    """A huge, broken or empty document of keys is refused."""
    for document in (b"x" * (MAX_BYTES + 1), b"{", b"[]", b'{"keys": []}', b'{"keys": 1}'):
        server.jwks = document
        fresh = Issuer(server.url, ca_file=None)
        fresh._fetcher = issuer._fetcher
        with pytest.raises(IssuerUnavailable):
            await fresh.verify(Secret(server.sign()), AUDIENCE)


async def test_metadata_of_another_issuer(issuer: Issuer, server: IssuerServer) -> None:
    """Metadata that names another issuer, or keys without TLS, are refused."""
    for changed in (
        {"issuer": "https://other.test"},
        {"jwks_uri": "http://keys.test/"},
        {"jwks_uri": 1},
    ):
        server.metadata = changed
        fresh = Issuer(server.url)
        fresh._fetcher = issuer._fetcher
        with pytest.raises(IssuerUnavailable):
            await fresh.verify(Secret(server.sign()), AUDIENCE)


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


@given(st.text(max_size=200) | st.builds(".".join, st.lists(st.text(max_size=40), max_size=4)))
def test_any_text(text: str) -> None:
    """Any text is refused with one error and no other exception."""
    with pytest.raises(InvalidJwt) as caught:
        issuer_of(Secret(text))
    assert "\n" not in str(caught.value)
