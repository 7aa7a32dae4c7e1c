"""JWTs are verified as RFC 8725 asks, with keys that come from the issuer and rotate."""

import base64
import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from authz.fetcher import IssuerUnavailable
from authz.oauth.issuers import ALGORITHMS, InvalidJwt, Issuer, issuer_of
from authz.secret import Secret
from tests.support.issuer import AUDIENCE, IssuerServer, Key, new_key
from tests.unit.oauth.conftest import Clock
from tests.unit.oauth.endpoint import refusal


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
        key = OctKey.import_key(base64.b64encode(secret).decode(), {"kid": server.key.kid or ""})
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
    claims = json.dumps(server.claims())
    twice = claims[:-1] + ', "sub": "repo:evil/app"}'
    header = {"alg": "ES256", "kid": server.key.kid}
    text = jws.serialize_compact(header, twice, server.key, algorithms=["ES256"])
    assert await refusal(issuer, text)


async def test_a_header_name_that_appears_twice(issuer: Issuer, server: IssuerServer) -> None:
    """A header with two algorithms is refused: another parser could take the other one."""
    head, payload, signature = server.sign().split(".")
    twice = b'{"alg":"none","alg":"ES256","kid":"one"}'
    text = ".".join((base64.urlsafe_b64encode(twice).decode().rstrip("="), payload, signature))
    assert head != text.split(".")[0]
    assert await refusal(issuer, text) == "its header is not valid JSON"


@pytest.mark.parametrize("kind", ["logout+jwt", "application/secevent+jwt", "JOSE", 1, ["JWT"]])
async def test_other_kinds_of_jwts(issuer: Issuer, server: IssuerServer, kind: object) -> None:
    """A JWT of a kind that is no proof of an identity is refused (RFC 8725 section 3.11)."""
    text = _unsigned(server, {"alg": "ES256", "kid": "one", "typ": kind}, "AAAA")
    assert await refusal(issuer, text) == "its typ is not accepted"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+JWT", None])
async def test_kinds_of_jwts(issuer: Issuer, server: IssuerServer, kind: str | None) -> None:
    """A JWT of a usual kind, or without one as in Kubernetes, is accepted."""
    assert await issuer.verify(Secret(server.sign(header={"typ": kind})), AUDIENCE)


async def test_a_key_signs_in_its_own_way_only(issuer: Issuer, server: IssuerServer) -> None:
    """The algorithm of the header must be that of the key, its kind and its curve."""
    rsa = RSAKey.generate_key(2048, {"kid": "rsa", "alg": "RS256", "use": "sig"})
    agreed = OKPKey.generate_key("X25519", {"kid": "x"})
    keys = [key.as_dict(private=False) for key in (rsa, agreed, server.key)]
    del keys[-1]["alg"]
    server.jwks = json.dumps({"keys": keys}).encode()
    assert await issuer.verify(Secret(server.sign(rsa, {"alg": "RS256"})), AUDIENCE)
    for algorithm, kid in (("ES384", "one"), ("EdDSA", "x")):
        assert await refusal(issuer, _unsigned(server, {"alg": algorithm, "kid": kid}, "AAAA"))
    # These keys are not even tried.
    for algorithm, kid in (("PS256", "rsa"), ("ES256", "rsa"), ("RS256", "one")):
        text = _unsigned(server, {"alg": algorithm, "kid": kid}, "AAAA")
        assert await refusal(issuer, text) == "the issuer has no such signing key"


async def test_a_jwt_that_is_too_long(issuer: Issuer, server: IssuerServer) -> None:
    """A JWT of more than 16 KiB is refused before it is read, though the signature is right."""
    assert await issuer.verify(Secret(server.sign(x="x" * 11_000)), AUDIENCE)
    assert await refusal(issuer, server.sign(x="x" * 13_000)) == "it is longer than 16 KiB"


async def test_an_end_that_is_no_time(issuer: Issuer, server: IssuerServer) -> None:
    """An end beyond all numbers is refused, and claims with a number that JSON can't hold."""
    for end in ("1e999", "NaN", "Infinity", "true"):
        claims = json.dumps(server.claims(exp=0)).replace('"exp": 0', f'"exp": {end}')
        header = {"alg": "ES256", "kid": "one"}
        text = jws.serialize_compact(header, claims, server.key, algorithms=["ES256"])
        assert await refusal(issuer, text), end


async def test_short_keys(issuer: Issuer, server: IssuerServer) -> None:
    """An RSA key of 1024 bits is not used."""
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1024, {"kid": "short", "use": "sig"})
    server.jwks = json.dumps({"keys": [short.as_dict(private=False)]}).encode()
    with pytest.raises(IssuerUnavailable):
        await issuer.verify(Secret(server.sign(header={"kid": "short"})), AUDIENCE)


async def test_every_algorithm(issuer: Issuer, server: IssuerServer) -> None:
    """Each accepted algorithm works with a key of its kind, also one without a fixed algorithm."""
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
    curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    keys: dict[str, Key] = {
        name: ECKey.generate_key(curves[name], {"kid": name}) for name in curves
    }
    keys |= dict.fromkeys(("EdDSA", "Ed25519"), OKPKey.generate_key("Ed25519", {"kid": "ed"}))
    published = [key.as_dict(private=False) for key in (rsa, *keys.values())]
    server.jwks = json.dumps({"keys": published}).encode()
    for algorithm in ALGORITHMS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            text = server.sign(keys.get(algorithm, rsa), {"alg": algorithm})
        assert await issuer.verify(Secret(text), AUDIENCE), algorithm


@given(st.text(max_size=200) | st.builds(".".join, st.lists(st.text(max_size=40), max_size=4)))
def test_any_text(text: str) -> None:
    """Any text is refused with one error and no other exception."""
    with pytest.raises(InvalidJwt) as caught:
        issuer_of(Secret(text))
    assert "\n" not in str(caught.value)
