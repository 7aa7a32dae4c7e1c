"""Attacks on the sign-in: each ends without a session, and the honest sign-in still works."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import OctKey

from tests.support.certificates import Authority
from tests.support.issuer import new_key
from tests.support.openid.scripted import ScriptedProvider, scripted_provider
from tests.unit.oidc.conftest import ORIGIN, Gateway, Person, company, running_gateway

_START = "/ui/sign-in/company"
_CALLBACK = f"{ORIGIN}{_START}/callback"


@pytest.fixture
def honest(certificate: tuple[Path, Path]) -> Iterator[ScriptedProvider]:
    """The provider of the company."""
    with scripted_provider(certificate) as provider:
        yield provider


@pytest.fixture
def evil(certificate: tuple[Path, Path]) -> Iterator[ScriptedProvider]:
    """A second provider, which attacks people of the first."""
    with scripted_provider(certificate) as provider:
        yield provider


@pytest.fixture
async def gateway(
    path: Path,
    tmp_path: Path,
    authority: Authority,
    honest: ScriptedProvider,
    evil: ScriptedProvider,
) -> AsyncIterator[Gateway]:
    """A gateway with two providers."""
    settings = {
        "url": ORIGIN,
        "oidc": [
            company(honest.url, authority, tmp_path),
            company(evil.url, authority, tmp_path, "evil"),
        ],
    }
    async with running_gateway(f"sqlite:///{path}", tmp_path, authority, settings) as running:
        yield running


async def _begin(person: Person, start: str = _START) -> str:
    """Return the URL at the provider."""
    response = await person.client.get(start)
    assert response.status_code == 303, response.text
    return response.headers["location"]


async def _is_refused(person: Person, url: str, status: int = 403) -> str:
    await person.open(url)
    assert person.last.status_code == status, person.last.text
    assert "authz_session" not in person.client.cookies
    return person.last.text


async def _sign_in(person: Person, provider: ScriptedProvider) -> None:
    await person.open(provider.callback(await _begin(person)))
    assert person.last.status_code == 200, person.last.text
    assert "authz_session" in person.client.cookies


async def test_honest(gateway: Gateway, honest: ScriptedProvider) -> None:
    """The scripted provider's sign-in works, so the refusals below are due to the attacks."""
    await _sign_in(gateway.person(), honest)
    assert len(honest.forms[0]["code_verifier"]) == 43


async def test_forced_sign_in(gateway: Gateway, honest: ScriptedProvider) -> None:
    """A response that an attacker began does nothing in the victim's browser (CSRF)."""
    attacker, victim = gateway.person(), gateway.person()
    url = honest.callback(await _begin(attacker))
    assert "began in another browser" in await _is_refused(victim, url)
    await _begin(victim)
    assert "began in another browser" in await _is_refused(victim, url)


async def test_code_injection(gateway: Gateway, honest: ScriptedProvider) -> None:
    """A stolen code is worth nothing in another browser, even with that browser's own state."""
    victim, attacker = gateway.person(), gateway.person()
    code = honest.begin(await _begin(victim))
    state = parse_qs(urlsplit(await _begin(attacker)).query)["state"][0]
    await _is_refused(attacker, f"{_CALLBACK}?{urlencode({'code': code, 'state': state})}")
    # Not even if the provider does not check PKCE: the nonce is of another sign-in.
    honest.requests.clear()
    theirs = await _begin(victim)
    mine = await _begin(attacker)
    code = honest.begin(theirs)
    honest.requests[code]["code_challenge"] = parse_qs(urlsplit(mine).query)["code_challenge"][0]
    state = parse_qs(urlsplit(mine).query)["state"][0]
    text = await _is_refused(attacker, f"{_CALLBACK}?{urlencode({'code': code, 'state': state})}")
    assert "nonce" in text


async def test_replay(gateway: Gateway, honest: ScriptedProvider) -> None:
    """A response works once, also in the browser that it was made for."""
    person = gateway.person()
    url = honest.callback(await _begin(person))
    cookie = person.client.cookies["__Host-authz_sign_in"]
    await person.open(url)
    assert person.last.status_code == 200
    person.client.cookies.clear()
    await _is_refused(person, url)
    person.client.cookies.set("__Host-authz_sign_in", cookie, domain="gateway.test", path="/")
    assert "was used or has expired" in await _is_refused(person, url)


async def test_mix_up(gateway: Gateway, honest: ScriptedProvider, evil: ScriptedProvider) -> None:
    """A response of one provider does not end the sign-in that began with another (RFC 9207)."""
    person = gateway.person()
    # The evil provider leads the browser to the honest one, to get its code.
    evil_state = parse_qs(urlsplit(await _begin(person, "/ui/sign-in/evil")).query)["state"][0]
    code = honest.begin(await _begin(gateway.person()))
    query = urlencode({"code": code, "state": evil_state})
    await _is_refused(person, f"{_CALLBACK}?{query}")
    assert honest.forms == []
    forged = urlencode({"code": code, "state": evil_state, "iss": honest.url})
    text = await _is_refused(person, f"{ORIGIN}/ui/sign-in/evil/callback?{forged}")
    assert "another identity provider" in text
    assert code not in [form.get("code") for form in evil.forms]


async def test_missing_issuer(gateway: Gateway, honest: ScriptedProvider) -> None:
    """A provider that promises iss in its responses must send it."""
    honest.metadata["authorization_response_iss_parameter_supported"] = True
    person = gateway.person()
    url = honest.callback(await _begin(person))
    assert "another identity provider" in await _is_refused(person, url)
    await person.open(f"{url}&{urlencode({'iss': honest.url})}")
    assert person.last.status_code == 200


async def test_forged_id_tokens(gateway: Gateway, honest: ScriptedProvider) -> None:
    """An ID token with another signature, issuer, audience, nonce or time is refused."""
    person = gateway.person()
    foreign = new_key()
    secret = OctKey.import_key("secret-of-the-gateway-and-longer-than-32")

    def unsigned(nonce: str) -> str:
        _, payload, _ = honest.sign(aud="gateway", nonce=nonce).split(".")
        return f"eyJhbGciOiJub25lIn0.{payload}."

    for changed in (
        {"aud": "another"},
        {"aud": ["gateway", "another"]},
        {"azp": "another"},
        {"iss": "https://127.0.0.1:1"},
        {"nonce": None},
        {"nonce": "another"},
        {"exp": 1},
        {"sub": None},
        {"sub": ""},
        {"sub": "a" * 256},
    ):
        honest.id_token = dict(changed)
        await _is_refused(person, honest.callback(await _begin(person)))
    honest.id_token = {}
    for make in (
        lambda nonce: honest.sign(key=foreign, aud="gateway", nonce=nonce),
        lambda nonce: honest.sign(
            key=secret, header={"alg": "HS256", "kid": None}, aud="gateway", nonce=nonce
        ),
        unsigned,
        lambda nonce: "no.jwt.here",
    ):
        location = await _begin(person)
        nonce = parse_qs(urlsplit(location).query)["nonce"][0]
        honest.forged = make(nonce)
        await _is_refused(person, honest.callback(location))
    honest.forged = None
    await _sign_in(person, honest)


async def test_userinfo_of_another(gateway: Gateway, honest: ScriptedProvider) -> None:
    """UserInfo of another subject is refused, so that no access token is substituted."""
    honest.user = {"sub": "2", "groups": ["admins"]}
    person = gateway.person()
    url = honest.callback(await _begin(person))
    assert "another person" in await _is_refused(person, url)


@pytest.mark.parametrize(
    "target",
    ["https://evil.test/", "//evil.test", "/\\evil.test", "/ui/../x", "/ui/%2e%2e", "javascript:1"],
)
async def test_open_redirect(gateway: Gateway, honest: ScriptedProvider, target: str) -> None:
    """The sign-in leads to pages of the gateway only."""
    person = gateway.person()
    location = await _begin(person, f"{_START}?{urlencode({'next': target})}")
    await person.open(honest.callback(location))
    assert person.last.url == f"{ORIGIN}/ui/account/tokens"


async def test_session_fixation(gateway: Gateway, honest: ScriptedProvider) -> None:
    """A sign-in makes a new session and ends the person's earlier one; another's stays as it is."""
    attacker, victim = gateway.person(), gateway.person()
    honest.id_token = {"sub": "attacker"}
    await _sign_in(attacker, honest)
    planted = attacker.client.cookies["authz_session"]
    victim.client.cookies.set("authz_session", planted, domain="gateway.test", path="/ui")
    honest.id_token = {"sub": "victim", "preferred_username": "victim"}
    await _again(victim, honest)
    assert victim.client.cookies["authz_session"] != planted
    page = await attacker.get("/ui/account/tokens")
    assert attacker.last.url.path == "/ui/account/tokens"
    assert not any("victim" in one.text for one in page.all("span"))
    first = victim.client.cookies["authz_session"]
    await _again(victim, honest)
    victim.client.cookies.set("authz_session", first, domain="gateway.test", path="/ui")
    await victim.get("/ui/account/tokens")
    assert victim.last.url.path == "/ui/sign-in"


async def _again(person: Person, provider: ScriptedProvider) -> None:
    """Sign in again, in a browser that has a session."""
    await person.open(provider.callback(await _begin(person)))
    assert person.last.status_code == 200, person.last.text


async def test_errors_of_the_provider(gateway: Gateway, honest: ScriptedProvider) -> None:
    """An error says what happened, and quotes nothing from the URL."""
    person = gateway.person()
    state = parse_qs(urlsplit(await _begin(person)).query)["state"][0]
    for error in ("access_denied", "<script>alert(1)</script>"):
        query = urlencode({"error": error, "error_description": "hidden-text", "state": state})
        text = await _is_refused(person, f"{_CALLBACK}?{query}")
        assert "hidden-text" not in text
        assert "alert(1)" not in text
    twice = f"{_CALLBACK}?code=a&code=b&state={state}"
    assert "twice" in await _is_refused(person, twice)
    await _is_refused(person, f"{_CALLBACK}?state={state}")
    await _is_refused(person, f"{_CALLBACK}?state={state}&code={'x' * 5000}")
    long = f"{_CALLBACK}?state={state}&code=a&x={'x' * 17_000}"
    assert "too long" in await _is_refused(person, long)
    await _is_refused(person, f"{ORIGIN}/ui/sign-in/unknown/callback?state={state}", 404)


async def test_provider_down(gateway: Gateway, honest: ScriptedProvider) -> None:
    """While the provider is down, signed-in people stay signed in, and no one new gets in."""
    first, second = gateway.person(), gateway.person()
    await _sign_in(first, honest)
    location = await _begin(second)
    url = honest.callback(location)
    # What the provider published stays known, so the sign-in gets as far as the token endpoint.
    provider = gateway.oidc._providers["company"]
    provider._issuer._metadata = {
        **(await provider._issuer.metadata()),
        "token_endpoint": "https://127.0.0.1:1/token",
    }
    text = await _is_refused(second, url, 503)
    assert "does not answer" in text
    assert "stays signed in" in text
    await first.get("/ui/account/tokens")
    assert first.last.url.path == "/ui/account/tokens"


async def test_limit(gateway: Gateway, honest: ScriptedProvider) -> None:
    """Guesses from one address are limited."""
    person = gateway.person()
    for _ in range(30):
        await _is_refused(person, f"{_CALLBACK}?code=a&state=b")
    await _is_refused(person, f"{_CALLBACK}?code=a&state=b", 429)


async def test_forged_host(
    path: Path, tmp_path: Path, authority: Authority, honest: ScriptedProvider
) -> None:
    """Without sign_in.url, a host that can't be one is refused; the provider checks the rest."""
    settings = {"oidc": [company(honest.url, authority, tmp_path)]}
    async with running_gateway(f"sqlite:///{path}", tmp_path, authority, settings) as gateway:
        person = gateway.person()
        for host in ("gateway.test/x", "a b", "evil.test@gateway.test", "gateway.test:99x"):
            response = await person.client.get(_START, headers={"host": host})
            assert response.status_code == 400, host
        location = await _begin(person)
        assert parse_qs(urlsplit(location).query)["redirect_uri"] == [_CALLBACK]


async def test_provider_never_reached(path: Path, tmp_path: Path, authority: Authority) -> None:
    """A provider that was never reached stops only its own button."""
    settings = {"url": ORIGIN, "oidc": [company("https://127.0.0.1:1", authority, tmp_path)]}
    async with running_gateway(f"sqlite:///{path}", tmp_path, authority, settings) as gateway:
        person = gateway.person()
        text = await _is_refused(person, f"{ORIGIN}{_START}", 503)
        assert "does not answer" in text
        await person.get("/ui/sign-in")
        assert person.last.status_code == 200
