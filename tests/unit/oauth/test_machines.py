"""A machine's JWT is exchanged for a short-lived token of a service account."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config.machines import Machines
from authz.core.rules import Mode
from authz.core.tokens import parse
from authz.identity.names import check_token_name
from authz.identity.store_sessions import Authenticated, AuthenticationFailed
from authz.oauth import machines as module
from authz.oauth.issuers import InvalidJwt
from authz.oauth.machines import JWT_BEARER, MachineGrants, token_name
from authz.printable import printable
from authz.secret import Secret
from tests.support.certificates import Authority
from tests.support.issuer import AUDIENCE, IssuerServer, issuer_server, new_key
from tests.unit.oauth.endpoint import GITHUB, KUBERNETES, Endpoint


async def test_a_token_for_a_job(any_endpoint: Endpoint) -> None:
    """A CI job's JWT gives a token of the rule's service account, with its lifetime and limits."""
    response = await any_endpoint.exchange(any_endpoint.server.sign(**GITHUB))
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["token_type"] == "Bearer"
    assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert body["expires_in"] == 600
    assert response.headers["cache-control"] == "no-store"
    token = parse(body["access_token"])
    assert token is not None
    owner = await any_endpoint.store.authenticate(token)
    assert isinstance(owner, Authenticated)
    assert owner.user.username == "ci"
    assert owner.key.rules.providers == ("openai",)
    assert owner.key.rules.modes == (Mode.CENTRALIZED,)
    assert owner.key.token_name.startswith("release.")
    assert 590 < (owner.key.expires_at - datetime.now(UTC)).total_seconds() <= 600


async def test_the_other_grant(endpoint: Endpoint) -> None:
    """RFC 7523 works with the same JWT, and each exchange makes a token of its own.

    A newline after the JWT, as in a file, does no harm.
    """
    text = endpoint.server.sign(**GITHUB)
    first = await endpoint.post(grant_type=JWT_BEARER, assertion=f"{text}\n")
    second = await endpoint.post(grant_type=JWT_BEARER, assertion=text)
    assert first.status_code == second.status_code == 200
    assert first.json()["access_token"] != second.json()["access_token"]


async def test_the_token_is_revoked_like_any_other(any_endpoint: Endpoint) -> None:
    """A removed token is dead, and the audit log names the rule and the subject."""
    body = (await any_endpoint.exchange(any_endpoint.server.sign(**GITHUB))).json()
    token = parse(body["access_token"])
    assert token is not None
    [key] = await any_endpoint.store.list_tokens()
    await any_endpoint.store.delete_token(key)
    assert isinstance(await any_endpoint.store.authenticate(token), AuthenticationFailed)
    entries = await any_endpoint.store.audit_entries(datetime.now(UTC) - timedelta(hours=1))
    made = [one for one in entries if one.change.target == key.token_name]
    assert any("release: repo:acme/app" in one.actor.name for one in made)


async def test_a_jwt_that_no_rule_matches(endpoint: Endpoint) -> None:
    """Another repository, branch, audience, time or issuer gets no token."""
    for changed in (
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
    ):
        response = await endpoint.exchange(endpoint.server.sign(**{**GITHUB, **changed}))
        assert response.status_code == 400, changed
        assert response.json()["error"] == "invalid_grant", changed
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
    await endpoint.store.set_status(user, "suspended")
    assert (await endpoint.exchange(endpoint.server.sign(**KUBERNETES))).status_code == 400


async def test_a_jwt_is_exchanged_once(single_use: Endpoint) -> None:
    """With single_use a JWT gives one token, however many ask at once, also after its removal."""
    text = single_use.server.sign(**GITHUB)
    answers = await asyncio.gather(*(single_use.exchange(text) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [200, 400, 400, 400, 400]
    [key] = await single_use.store.list_tokens()
    await single_use.store.expire_token(key)
    again = await single_use.post(grant_type=JWT_BEARER, assertion=text)
    assert again.json()["error"] == "invalid_grant"
    assert "exchanged before" in again.json()["error_description"]
    other = single_use.server.sign(**{**GITHUB, "jti": "other"})
    assert (await single_use.exchange(other)).status_code == 200


async def test_a_jwt_that_can_not_be_exchanged_once(single_use: Endpoint) -> None:
    """With single_use a JWT needs an id, and ends while authz still knows that id."""
    far = int(time.time()) + 25 * 3600
    for changed in ({"jti": None}, {"jti": ""}, {"jti": 7}, {"exp": far}):
        response = await single_use.exchange(single_use.server.sign(**{**GITHUB, **changed}))
        assert response.json()["error"] == "invalid_grant", changed
    assert await single_use.store.list_tokens() == []


async def test_tokens_that_ended_are_forgotten(
    any_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of a rule's token that ended is deleted; those of other tokens stay."""
    monkeypatch.setattr(module, "_KEEP_SECONDS", -3600)
    monkeypatch.setattr(module, "_PRUNE_SECONDS", 0)
    store = any_endpoint.store
    account = await store.get_user("ci")
    _text, other = await store.create_token(account, "releases", timedelta(minutes=1))
    _text, long = await store.create_token(account, "release.long", timedelta(days=1))
    for key in (other, long):
        await store.expire_token(key)
    text = any_endpoint.server.sign(**GITHUB)
    assert (await any_endpoint.exchange(text)).status_code == 200
    kept = [key.id for key in await store.list_tokens(include_expired=True)]
    assert kept == [other.id, long.id]


@given(
    st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True),
    st.text(max_size=200) | st.from_regex(r"[a-z]{0,8}-[a-z]{0,30}", fullmatch=True),
)
def test_any_subject_in_a_name(rule: str, subject: str) -> None:
    """A token's name is valid for every subject, begins with the rule and ends with the mark."""
    for mark in ("0a1b2c3d", "0a1b2c3d4e5f60718293"):
        name = token_name(rule, printable(subject), mark)
        assert check_token_name(name) is None
        assert name.startswith(f"{rule}.")
        assert name.endswith(f".{mark}")


async def test_tokens_of_a_rule_are_bounded(
    any_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule has a bounded number of valid tokens; a removed one makes room."""
    monkeypatch.setattr(module, "MAX_LIVE_TOKENS", 2)
    text = any_endpoint.server.sign(**GITHUB)
    assert [(await any_endpoint.exchange(text)).status_code for _ in range(3)] == [200, 200, 429]
    [key, _other] = await any_endpoint.store.list_tokens()
    await any_endpoint.store.expire_token(key)
    assert (await any_endpoint.exchange(text)).status_code == 200


async def test_a_rule_of_another_issuer(
    server: IssuerServer, issuer_authority: Authority, certificate: tuple[Path, Path]
) -> None:
    """A rule matches JWTs of its own issuer only, although another one has the same claims."""
    ca_file = str(issuer_authority.ca_file)
    with issuer_server(certificate) as other:
        issuers = [
            {"issuer": one.url, "audience": AUDIENCE, "ca_file": ca_file} for one in (server, other)
        ]
        rule = {"service_account": "ci", "claims": {"repository": "acme/*"}}
        rules = [
            {**rule, "name": "first", "issuer": server.url},
            {**rule, "name": "second", "issuer": other.url, "claims": {"repository": "acme/app"}},
        ]
        text = json.dumps({"issuers": issuers, "rules": rules})
        grants = MachineGrants(Machines.model_validate_json(text))
        try:
            found = [
                (await grants.match(Secret(one.sign(**GITHUB))))[0].name for one in (server, other)
            ]
            assert found == ["first", "second"]
            with pytest.raises(InvalidJwt):
                await grants.match(Secret(other.sign(**{**GITHUB, "repository": "acme/more"})))
        finally:
            await grants.close()
