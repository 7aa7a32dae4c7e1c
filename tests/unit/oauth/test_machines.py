"""A machine's JWT is exchanged for a short-lived token of a service account."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from authz.config.machines import Machines
from authz.core.rules import Mode
from authz.core.tokens import parse
from authz.identity.open import open_store
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated, AuthenticationFailed
from authz.oauth import machines as module
from authz.oauth.machines import JWT_BEARER, TOKEN_EXCHANGE, MachineGrants, matches
from authz.oauth.token_endpoint import PER_PEER, TOKEN_PATH, token_route
from authz.web.own_store import OwnStore
from tests.support.certificates import Authority
from tests.support.issuer import AUDIENCE, IssuerServer, new_key

JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
GITHUB = {
    "sub": "repo:acme/app:ref:refs/heads/main",
    "repository": "acme/app",
    "repository_owner": "acme",
    "ref": "refs/heads/main",
    "workflow": "release",
    "runner_environment": "github-hosted",
    "jti": "4c1f",
}
KUBERNETES = {
    "sub": "system:serviceaccount:ci:builder",
    "kubernetes.io": {
        "namespace": "ci",
        "pod": {"name": "builder-0", "uid": "9a1b"},
        "serviceaccount": {"name": "builder", "uid": "77c0"},
    },
}


@dataclass
class Endpoint:
    """The token endpoint on a store."""

    client: httpx.AsyncClient
    store: Store
    server: IssuerServer

    async def post(self, **form: str) -> httpx.Response:
        """Send parameters to the endpoint."""
        return await self.client.post(TOKEN_PATH, data=form)

    async def exchange(self, jwt: str, **changed: str) -> httpx.Response:
        """Exchange a JWT as RFC 8693 says."""
        form = {"grant_type": TOKEN_EXCHANGE, "subject_token": jwt, "subject_token_type": JWT_TYPE}
        return await self.post(**{**form, **changed})


@pytest.fixture
async def endpoint(
    store_url: str, server: IssuerServer, issuer_authority: Authority
) -> AsyncIterator[Endpoint]:
    """The endpoint, for one repository and one namespace, on a store of each kind."""
    issuer = {
        "issuer": server.url,
        "audience": AUDIENCE,
        "ca_file": str(issuer_authority.ca_file),
    }
    rules: list[Mapping[str, Any]] = [
        {
            "name": "release",
            "issuer": server.url,
            "service_account": "ci",
            "claims": {"repository": "acme/*", "ref": "refs/heads/main"},
            "lifetime": "10m",
            "providers": ["openai"],
            "modes": ["centralized"],
        },
        {
            "name": "pods",
            "issuer": server.url,
            "service_account": "pods",
            "claims": {"kubernetes.io": {"namespace": "ci"}},
        },
    ]
    settings = Machines.model_validate_json(json.dumps({"issuers": [issuer], "rules": rules}))
    grants = MachineGrants(settings)
    store = await open_store(store_url)
    await store.create_user("ci", service_account=True)
    own_store = OwnStore(store_url, 1)
    app = Starlette(routes=[token_route(grants.grants, own_store)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        yield Endpoint(client, store, server)
    await own_store.close()
    await store.close()
    await grants.close()


async def test_a_token_for_a_job(endpoint: Endpoint) -> None:
    """A CI job's JWT gives a token of the rule's service account, with its lifetime and limits."""
    response = await endpoint.exchange(endpoint.server.sign(**GITHUB))
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["token_type"] == "Bearer"
    assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert body["expires_in"] == 600
    assert response.headers["cache-control"] == "no-store"
    token = parse(body["access_token"])
    assert token is not None
    owner = await endpoint.store.authenticate(token)
    assert isinstance(owner, Authenticated)
    assert owner.user.username == "ci"
    assert owner.key.rules.providers == ("openai",)
    assert owner.key.rules.modes == (Mode.CENTRALIZED,)
    assert owner.key.token_name.startswith("release.")
    assert 590 < (owner.key.expires_at - datetime.now(UTC)).total_seconds() <= 600


async def test_the_other_grant(endpoint: Endpoint) -> None:
    """RFC 7523 works with the same JWT, and each exchange makes a token of its own."""
    text = endpoint.server.sign(**GITHUB)
    first = await endpoint.post(grant_type=JWT_BEARER, assertion=text)
    second = await endpoint.post(grant_type=JWT_BEARER, assertion=text)
    assert first.status_code == second.status_code == 200
    assert first.json()["access_token"] != second.json()["access_token"]


async def test_the_token_is_revoked_like_any_other(endpoint: Endpoint) -> None:
    """A removed token is dead, and the audit log names the rule and the subject."""
    body = (await endpoint.exchange(endpoint.server.sign(**GITHUB))).json()
    token = parse(body["access_token"])
    assert token is not None
    [key] = await endpoint.store.list_tokens()
    await endpoint.store.delete_token(key)
    assert isinstance(await endpoint.store.authenticate(token), AuthenticationFailed)
    entries = await endpoint.store.audit_entries()
    made = [one for one in entries if one.change.target == key.token_name]
    assert any("release: repo:acme/app" in one.actor.name for one in made)


@pytest.mark.parametrize(
    "changed",
    [
        {"repository": "evil/app"},
        {"repository": "acme"},
        {"repository": None},
        {"repository": ["evil/app"]},
        {"repository": {"acme/app": "acme/app"}},
        {"ref": "refs/heads/main2"},
        {"ref": "REFS/HEADS/MAIN"},
        {"aud": "https://elsewhere.test"},
        {"exp": 1},
        {"iss": "https://elsewhere.test"},
    ],
    ids=str,
)
async def test_a_jwt_that_no_rule_matches(endpoint: Endpoint, changed: dict[str, Any]) -> None:
    """Another repository, branch, audience, time or issuer gets no token."""
    response = await endpoint.exchange(endpoint.server.sign(**{**GITHUB, **changed}))
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_grant"
    assert await endpoint.store.list_tokens() == []


async def test_a_foreign_signature(endpoint: Endpoint) -> None:
    """A JWT that another key signed gets no token, and the response does not quote it."""
    text = endpoint.server.sign(new_key("one"), **GITHUB)
    response = await endpoint.exchange(text)
    assert response.json()["error"] == "invalid_grant"
    assert text.split(".")[1] not in response.text


async def test_a_service_account_that_is_missing(endpoint: Endpoint) -> None:
    """A rule without its service account gives no token, and neither does a person's name."""
    response = await endpoint.exchange(endpoint.server.sign(**KUBERNETES))
    assert response.status_code == 400
    assert "service account" in response.json()["error_description"]
    await endpoint.store.create_user("pods")
    assert (await endpoint.exchange(endpoint.server.sign(**KUBERNETES))).status_code == 400


async def test_a_pod(endpoint: Endpoint) -> None:
    """A pod's JWT matches by a claim within a claim, until the service account is suspended."""
    user = await endpoint.store.create_user("pods", service_account=True)
    assert (await endpoint.exchange(endpoint.server.sign(**KUBERNETES))).status_code == 200
    await endpoint.store.suspend_user(user)
    assert (await endpoint.exchange(endpoint.server.sign(**KUBERNETES))).status_code == 400


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": TOKEN_EXCHANGE}, "invalid_request"),
        ({"grant_type": TOKEN_EXCHANGE, "subject_token": "x"}, "invalid_request"),
        ({"grant_type": JWT_BEARER}, "invalid_request"),
        ({"grant_type": JWT_BEARER, "assertion": ""}, "invalid_request"),
        ({"grant_type": JWT_BEARER, "assertion": "x"}, "invalid_grant"),
        ({"grant_type": JWT_BEARER, "assertion": "x" * 20_000}, "invalid_grant"),
    ],
)
async def test_requests_that_are_wrong(
    endpoint: Endpoint, form: dict[str, str], error: str
) -> None:
    """A request that is wrong gets the error of RFC 6749 section 5.2."""
    response = await endpoint.post(**form)
    assert response.status_code == 400
    assert response.json()["error"] == error


async def test_exchanges_that_are_not_supported(endpoint: Endpoint) -> None:
    """Delegation and other types of tokens are refused."""
    text = endpoint.server.sign(**GITHUB)
    for changed in (
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": text},
    ):
        response = await endpoint.exchange(text, **changed)
        assert response.json()["error"] == "invalid_request"


async def test_a_parameter_twice(endpoint: Endpoint) -> None:
    """A parameter that appears twice is refused, as RFC 6749 section 3.2 asks."""
    body = f"grant_type={JWT_BEARER}&assertion=a&assertion=b"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = await endpoint.client.post(TOKEN_PATH, content=body, headers=headers)
    assert response.json()["error"] == "invalid_request"


async def test_guesses_are_limited(endpoint: Endpoint) -> None:
    """One address may try sixty times a minute."""
    for _ in range(PER_PEER):
        assert (await endpoint.post(grant_type=JWT_BEARER, assertion="x")).status_code == 400
    response = await endpoint.post(grant_type=JWT_BEARER, assertion="x")
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


async def test_tokens_of_a_rule_are_bounded(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule has a bounded number of valid tokens; a removed one makes room."""
    monkeypatch.setattr(module, "MAX_LIVE_TOKENS", 2)
    text = endpoint.server.sign(**GITHUB)
    assert [(await endpoint.exchange(text)).status_code for _ in range(3)] == [200, 200, 429]
    [key, _other] = await endpoint.store.list_tokens()
    await endpoint.store.expire_token(key)
    assert (await endpoint.exchange(text)).status_code == 200


async def test_the_issuer_is_down(endpoint: Endpoint) -> None:
    """Without the issuer's keys the answer is 503, and later a token."""
    endpoint.server.status = 500
    response = await endpoint.exchange(endpoint.server.sign(**GITHUB))
    assert response.status_code == 503
    assert response.json()["error"] == "temporarily_unavailable"


_TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)


@given(_TEXT)
def test_a_pattern_without_wildcards(text: str) -> None:
    """A text without wildcards matches itself only."""
    plain = "x" + "".join(letter for letter in text if letter not in "*?[")
    assert matches({"a": plain}, {"a": plain})
    assert not matches({"a": plain}, {"a": plain + "y"})
    assert not matches({"a": plain}, {"b": plain})


@given(
    st.dictionaries(
        _TEXT,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_any_claims(claims: dict[str, Any]) -> None:
    """Claims of any shape match or do not, without an error."""
    claims.pop("needed", None)
    assert not matches({"needed": "x*"}, claims)
    assert not matches({"needed": {"within": "*"}}, claims)
