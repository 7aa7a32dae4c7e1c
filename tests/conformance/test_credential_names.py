"""Attempts to bypass the one credential that a provider type has, through a real pair."""

import httpx
import pytest

from tests.support.every_type import CENTRAL, OAUTH, OWN
from tests.support.pair import Pair
from tests.support.requests import Exchange, exchange, one

GOVERNANCE = "x-coder-ai-governance-token"
PATHS = {
    "azure": "/azure/openai/models",
    "gemini": "/gemini/v1beta/models",
    "google": "/google/v1/models",
    "openai": "/openai/v1/models",
    "compat": "/compat/v1/models",
    "bedrock": "/bedrock/openai/v1/models",
}
FURTHER_OWN = [
    ("azure", "ocp-apim-subscription-key"),
    ("google", "x-goog-api-key"),
    ("compat", "x-litellm-api-key"),
    ("compat", "x-portkey-api-key"),
    ("compat", "cf-aig-authorization"),
    ("compat", "helicone-auth"),
    ("compat", "apikey"),
    ("compat", "x-bf-vk"),
    ("compat", "x-team-key"),
]
"""Further headers with a credential that the provider, or a gateway before it, accepts."""
NEVER = [
    "x-goog-iam-authorization-token",
    "x-goog-iam-authority-selector",
    "x-access-token",
    "x-auth-key",
    "x-functions-key",
    "x-serverless-authorization",
    "x-vercel-oidc-token",
    "cf-access-client-id",
    "cf-access-client-secret",
    "cf-access-token",
]
"""Headers with a credential that no type takes as the user's own."""
ACCOUNTS = {
    "openai-organization": "org-mine",
    "openai-project": "proj-mine",
    "x-goog-user-project": "p-mine",
    "x-portkey-virtual-key": "vk",
    "x-portkey-custom-host": "https://evil.example",
    "helicone-target-url": "https://evil.example",
    "cf-aig-byok-alias": "somebody",
    "x-hf-bill-to": "somebody",
}
OVERRIDES = {
    "X-HTTP-Method-Override": "DELETE",
    "X-HTTP-Method": "DELETE",
    "X-Method-Override": "DELETE",
}


@pytest.fixture(scope="module")
def token(every_type: Pair) -> str:
    """A token of alice."""
    return every_type.create_token("alice")


@pytest.fixture(scope="module")
def token_without_byok(every_type_without_byok: Pair) -> str:
    """A token of alice at the other pair."""
    return every_type_without_byok.create_token("alice")


def _raw_query(pair: Pair, path: str, query: str, headers: dict[str, str]) -> Exchange:
    request = httpx.Request("GET", f"{pair.url}{path}", headers=headers)
    request.url = request.url.copy_with(raw_path=f"{path}?{query}".encode())
    (exchanged,) = exchange(pair, [request])
    return exchanged


@pytest.mark.parametrize(("name", "header"), FURTHER_OWN)
def test_an_own_credential_in_a_further_header(
    every_type: Pair,
    every_type_without_byok: Pair,
    token: str,
    token_without_byok: str,
    name: str,
    header: str,
) -> None:
    """An own credential in a further header is the only one sent, and is 403 with BYOK off."""
    own = {header: OWN[name]}
    exchanged = one(every_type, "GET", PATHS[name], {GOVERNANCE: token, **own})
    (seen,) = exchanged.seen
    assert seen.all(header) == [OWN[name]]
    assert CENTRAL[name] not in repr(seen.headers)
    gated = one(
        every_type_without_byok, "GET", PATHS[name], {GOVERNANCE: token_without_byok, **own}
    )
    assert gated.answer.status_code == 403
    assert gated.seen == []


@pytest.mark.parametrize("name", PATHS)
def test_no_credential_passes_beside_the_central_key(
    every_type_without_byok: Pair, token_without_byok: str, name: str
) -> None:
    """Without a governance header no further header is a credential or reaches the provider."""
    further = {header for _, header in FURTHER_OWN} - {"x-goog-api-key"}
    headers = dict.fromkeys((*further, *NEVER), "sk-smuggled")
    headers |= ACCOUNTS | OVERRIDES
    headers["authorization"] = f"Bearer {token_without_byok}"
    (seen,) = one(every_type_without_byok, "GET", PATHS[name], headers).seen
    left = {key: value for key, value in seen.headers if key.lower() in {*map(str.lower, headers)}}
    left.pop("authorization", None)
    fixed = {"openai-organization": "org-company"} if name == "compat" else {}
    assert left == fixed
    assert "smuggled" not in repr(seen.headers)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("header", [*NEVER, *OVERRIDES])
def test_what_is_no_own_credential_goes_to_nobody(
    every_type: Pair, token: str, name: str, header: str
) -> None:
    """Further credentials and method overrides are removed even if the user's own key is sent."""
    headers = {GOVERNANCE: token, "authorization": f"Bearer {OWN[name]}", header: "x"}
    (seen,) = one(every_type, "GET", PATHS[name], headers).seen
    assert seen.all(header) == []
    assert seen.all("authorization") == [f"Bearer {OWN[name]}"]


def test_the_providers_settings_choose_the_account(every_type: Pair, token: str) -> None:
    """A centralized request gets the configured account, and one with an own key the user's."""
    headers = {"authorization": f"Bearer {token}", **ACCOUNTS}
    for sent in (headers, {"authorization": f"Bearer {token}"}):
        (central,) = one(every_type, "GET", PATHS["compat"], sent).seen
        assert central.all("openai-organization") == ["org-company"]
        assert central.all("x-fixed") == ["yes"]
        assert central.all("openai-project") == []
    own = {GOVERNANCE: token, "authorization": f"Bearer {OWN['compat']}", **ACCOUNTS}
    (seen,) = one(every_type, "GET", PATHS["compat"], own).seen
    assert {key: seen.all(key) for key in ACCOUNTS} == {k: [v] for k, v in ACCOUNTS.items()}
    assert seen.all("x-fixed") == []


@pytest.mark.parametrize("name", ["gemini", "google"])
@pytest.mark.parametrize(
    "query",
    [
        "$httpHeaders=x-goog-api-key:K",
        "%24httpHeaders=x-goog-api-key%3AK",
        "httpheaders=x",
        "%2524httpHeaders=x",
        "a=1;$httpHeaders=x",
        "$httpMethod=DELETE",
        "%24httpMethod=DELETE",
        "userProject=p;$httpMethod=DELETE",
    ],
)
def test_a_query_that_replaces_headers(every_type: Pair, token: str, name: str, query: str) -> None:
    """A query that sets headers or the method at Google's APIs is a 400 in both modes."""
    for headers in (
        {"authorization": f"Bearer {token}"},
        {GOVERNANCE: token, "authorization": f"Bearer {OAUTH['gemini']}"},
    ):
        exchanged = _raw_query(every_type, PATHS[name], query, headers)
        assert exchanged.answer.status_code == 400
        assert exchanged.seen == []
        assert "$http" in exchanged.answer.json()["error"]["message"]


def test_a_query_that_chooses_an_account(every_type: Pair, token: str) -> None:
    """An account in the query is removed with the central key, and kept with one's own."""
    query = "userProject=p&$quotaUser=q&alt=sse"
    (central,) = _raw_query(every_type, PATHS["gemini"], query, {"x-api-key": token}).seen
    assert central.query == "alt=sse"
    own = {GOVERNANCE: token, "x-goog-api-key": OWN["gemini"]}
    (seen,) = _raw_query(every_type, PATHS["gemini"], query, own).seen
    assert seen.query == query


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("gemini", "key=K"),
        ("google", "access_token=K"),
        ("azure", "api-key=K"),
        ("azure", "ocp-apim-subscription-key=K"),
        ("compat", "apikey=K"),
        ("bedrock", "X-Amz-Signature=K"),
    ],
)
def test_an_own_key_in_the_query(
    every_type: Pair,
    every_type_without_byok: Pair,
    token: str,
    token_without_byok: str,
    name: str,
    query: str,
) -> None:
    """An own key in the query is refused with a text, since the company must not pay for it."""
    exchanged = one(every_type, "GET", f"{PATHS[name]}?{query}", {GOVERNANCE: token})
    assert exchanged.answer.status_code == 400
    assert exchanged.seen == []
    error = exchanged.answer.json()["error"]
    assert query.partition("=")[0] in error["message"]
    assert "Send it in" in error["message"]
    gated = one(
        every_type_without_byok, "GET", f"{PATHS[name]}?{query}", {GOVERNANCE: token_without_byok}
    )
    assert gated.answer.status_code == 403
    # One's own key is in its header, too: it is used, and the query's is removed.
    both = {GOVERNANCE: token, "authorization": f"Bearer {OWN[name]}"}
    (seen,) = one(every_type, "GET", f"{PATHS[name]}?{query}&a=1", both).seen
    assert seen.query == "a=1"


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("key", ["key", "api_key", "access_token", "anything"])
def test_a_coder_token_in_the_query_alone(
    every_type: Pair, token: str, name: str, key: str
) -> None:
    """A Coder token in the query is 400 under any name, since URLs are logged along the way."""
    exchanged = one(every_type, "GET", f"{PATHS[name]}?{key}={token}")
    assert exchanged.answer.status_code == 400
    assert "The Coder token is part of the URL" in exchanged.answer.json()["error"]["message"]
    assert exchanged.seen == []
