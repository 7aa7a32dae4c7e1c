"""Rules of Azure, Gemini, Bedrock, Copilot and further paths, beside the credential header's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.every_type import (
    CENTRAL,
    OAUTH,
    OWN,
    SECRET_KEY,
    is_signed,
    pair_of_every_type,
)
from tests.support.pair import Pair, Provider, wait_until
from tests.support.requests import Exchange, exchange, leaks, one
from tests.support.tokens import altered

GOVERNANCE = "X-Coder-AI-Governance-Token"
GENERATE = "/gemini/v1beta/models/gemini-2.5-flash:generateContent"
ASK = {"contents": [{"role": "user", "parts": [{"text": "Ghent?"}]}]}
HIDDEN = [
    "k%65y=K",
    "a=1;key=K",
    "?key=K",
    "KEY=K",
    "Key=K",
    "a=1%26key%3DK",
    "k%2565y=K",
    "key%3DK",
    "%6Bey=K",
    "key%00=K",
    "key[]=K",
    "+key=K",
    "%26key=K",
    "a=b%3Bkey=K",
    "access%5Ftoken=K",
    "Access_Token=K",
]


@pytest.fixture(scope="module")
def token(every_type: Pair) -> str:
    """A token of alice."""
    return every_type.create_token("alice")


@pytest.fixture(scope="module")
def token_without_byok(every_type_without_byok: Pair) -> str:
    """A token of alice at the other pair."""
    return every_type_without_byok.create_token("alice")


def _post(pair: Pair, path: str, headers: dict[str, str], body: Any = ASK) -> Exchange:
    return one(pair, "POST", path, headers, json=body)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("key=K", ""),
        ("key=K&alt=sse", "alt=sse"),
        ("alt=sse&key=K", "alt=sse"),
        ("alt=sse&key=K&key=L", "alt=sse"),
        ("key", ""),
        ("key=a=b", ""),
        ("access_token=K&key=L&q=a%20b%26c", "q=a%20b%26c"),
        ("monkey=1&keys=2", "monkey=1&keys=2"),
        ("z=1&a=%2520x&z=2", "z=1&a=%2520x&z=2"),
    ],
)
def test_a_key_in_the_query_is_removed(every_type: Pair, token: str, query: str, left: str) -> None:
    """A key in the query is removed, and all other parameters reach the provider unchanged."""
    exchanged = one(every_type, "GET", f"/gemini/v1beta/models?{query}", {"x-goog-api-key": token})
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    (seen,) = exchanged.seen
    assert seen.query == left
    assert exchanged.credentials == [("x-goog-api-key", CENTRAL["gemini"])]


@pytest.mark.parametrize("query", HIDDEN)
@pytest.mark.parametrize("name", ["gemini", "google"])
def test_a_key_in_another_spelling_is_refused(
    every_type: Pair, token: str, query: str, name: str
) -> None:
    """A key with another spelling in the query is refused, since Envoy would not find it."""
    path = {"gemini": "/gemini/v1beta/models", "google": "/google/v1/models"}[name]
    request = httpx.Request("GET", f"{every_type.url}{path}", headers={"x-api-key": token})
    request.url = request.url.copy_with(raw_path=f"{path}?{query}".encode())
    (exchanged,) = exchange(every_type, [request])
    assert exchanged.answer.status_code == 400
    assert exchanged.seen == []
    assert "Send it in a header" in exchanged.answer.json()["error"]["message"]


def test_azures_key_in_the_query(every_type: Pair, token: str) -> None:
    """A key for Azure in the query is removed, and the API version stays."""
    path = "/azure/openai/models?api-version=2025-04-01&api-key=K&subscription-key=L"
    exchanged = one(every_type, "GET", path, {"api-key": token})
    assert exchanged.seen[0].query == "api-version=2025-04-01"
    hidden = one(every_type, "GET", "/azure/openai/models?Api%2DKey=K", {"api-key": token})
    assert hidden.answer.status_code == 400


@pytest.mark.parametrize("name", ["azure", "gemini"])
def test_an_oauth_token_of_ones_own(every_type: Pair, token: str, name: str) -> None:
    """Own tokens of Entra ID and Google are sent as a Bearer, and an own key overrides them."""
    path = {"azure": "/azure/openai/v1/models", "gemini": "/gemini/v1/models"}[name]
    header = {"azure": "api-key", "gemini": "x-goog-api-key"}[name]
    bearer = {GOVERNANCE: token, "authorization": f"Bearer {OAUTH[name]}"}
    exchanged = one(every_type, "GET", path, bearer)
    assert exchanged.credentials == [("authorization", f"Bearer {OAUTH[name]}")]
    both = one(every_type, "GET", path, {**bearer, header: OWN[name]})
    assert both.credentials == [(header, OWN[name])]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gemini/v1beta/models/gemini-2.5-flash:tuneModel"),
        ("POST", "/gemini/v1beta/models/gemini-2.5-flash"),
        ("POST", "/gemini/v1beta/models/a%3Adelete:generateContent"),
        ("GET", "/gemini/v1beta/models/a:generateContent"),
        ("DELETE", "/gemini/v1beta/models/a"),
        ("GET", "/gemini/v1beta/files"),
        ("POST", "/gemini/v1beta/cachedContents"),
        ("POST", "/gemini/v1beta/tunedModels/a:generateContent"),
        ("POST", "/gemini/v1beta/models/a/b:generateContent"),
        ("POST", "/gemini/v1alpha/models/a:generateContent"),
        ("POST", "/azure/openai/deployments/d/images/variations"),
        ("POST", "/azure/openai/deployments/d%2Fx/embeddings"),
        ("GET", "/gemini/v1beta/models/a/b"),
        ("GET", "/gemini/v1beta/models/..%2Ffiles"),
        ("GET", "/gemini/v1beta/models/a%3AgenerateContent"),
        ("GET", "/bedrock/v1/models/..%2Fx"),
        ("POST", "/azure/openai/deployments/a/b/chat/completions"),
        ("GET", "/azure/openai/deployments"),
        ("DELETE", "/azure/openai/models/m"),
        ("GET", "/azure/openai/v1/files"),
        ("POST", "/bedrock/model/m/invoke"),
        ("POST", "/bedrock/anthropic/v1/messages"),
        ("GET", "/bedrock/v1/messages"),
        ("POST", "/bedrock/v1/messages/batches"),
        ("POST", "/openai/v1/files"),
        ("GET", "/openai/v1/batches"),
        ("GET", "/openai/v1/files"),
        ("POST", "/openai/v1/files/a"),
    ],
)
def test_what_is_not_listed_is_404(every_type: Pair, token: str, method: str, path: str) -> None:
    """No other path is served, with the central key or with one's own."""
    for headers in (
        {"x-api-key": token},
        {GOVERNANCE: token, "authorization": f"Bearer {OWN[path.split('/')[1]]}"},
    ):
        exchanged = one(every_type, method, path, headers)
        assert exchanged.answer.status_code == 404
        assert exchanged.seen == []


def test_googles_errors(every_type: Pair, token: str) -> None:
    """A refusal has Google's three fields, and the status that its SDK shows."""
    for headers, path, status, name in (
        ({}, GENERATE, 401, "UNAUTHENTICATED"),
        ({"x-goog-api-key": token}, "/gemini/v1/files", 404, "NOT_FOUND"),
        ({"x-goog-api-key": token}, f"{GENERATE}?k%65y=K", 400, "INVALID_ARGUMENT"),
    ):
        answer = _post(every_type, path, headers).answer
        assert answer.status_code == status
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "status"}
        assert (error["code"], error["status"]) == (status, name)


def test_bedrocks_paths(every_type: Pair, token: str) -> None:
    """Bedrock serves Anthropic's format below /anthropic, and the signature covers that path."""
    url = every_type.provider.server.url
    messages = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Ghent?"}]}
    for path, upstream, body in (
        ("/bedrock/v1/messages", "/anthropic/v1/messages", messages),
        (
            "/api/v2/ai-gateway/bedrock/v1/messages/count_tokens?beta=true",
            "/anthropic/v1/messages/count_tokens",
            messages,
        ),
        ("/bedrock/v1/chat/completions", "/v1/chat/completions", messages),
        ("/bedrock/openai/v1/responses", "/openai/v1/responses", {"model": "m", "input": "x"}),
    ):
        exchanged = _post(every_type, path, {"authorization": f"Bearer {token}"}, body)
        assert exchanged.answer.status_code == 200, exchanged.answer.text
        (seen,) = exchanged.seen
        assert seen.path == upstream
        assert is_signed(seen, url)
        assert seen.all("x-amz-content-sha256") == ["UNSIGNED-PAYLOAD"]


def test_the_verifier_of_signatures_can_say_no(every_type: Pair, token: str) -> None:
    """A signature is valid only for its own request and secret."""
    url = every_type.provider.server.url
    exchanged = one(every_type, "GET", "/bedrock/v1/models/a%20b:c?x=1&y=%2F", {"x-api-key": token})
    (seen,) = exchanged.seen
    assert seen.path == "/v1/models/a%20b:c"
    assert is_signed(seen, url)
    assert not is_signed(seen, url, secret_key="another")
    assert not is_signed(replace(seen, path="/v1/models/b"), url)
    assert not is_signed(replace(seen, method="POST"), url)
    assert not is_signed(replace(seen, query="x=2&y=%2F"), url)


def test_a_clients_own_signature_counts_for_nothing(every_type: Pair, token: str) -> None:
    """No part of a client's own signature reaches AWS, in Authorization or in other headers."""
    forged = {
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIAFORGED/20260101/x/y/aws4_request, "
        f"SignedHeaders=host;x-amz-date Signature={'0' * 64}",
        "x-amz-date": "20200101T000000Z",
        "x-amz-content-sha256": "0" * 64,
        "x-amz-security-token": "forged",
        "x-amzn-bedrock-trace": "ENABLED",
    }
    # Two fields would be missing for a Bearer, and a comma is the trace of joined headers.
    assert one(every_type, "GET", "/bedrock/v1/models", forged).answer.status_code == 400
    del forged["authorization"]
    central = one(every_type, "GET", "/bedrock/v1/models", {"x-api-key": token, **forged})
    (seen,) = central.seen
    assert is_signed(seen, every_type.provider.server.url)
    assert seen.all("x-amz-date") != ["20200101T000000Z"]
    own = {GOVERNANCE: token, "x-api-key": OWN["bedrock"], **forged}
    (seen,) = one(every_type, "GET", "/bedrock/v1/models", own).seen
    assert [name for name, _ in seen.headers if name.startswith("x-amz")] == [
        "x-amzn-bedrock-trace"
    ]


def test_nothing_is_buffered_to_be_signed(every_type: Pair, token: str) -> None:
    """A body too large for Envoy to buffer passes unchanged, and its request is signed."""
    size = 30 * 1024 * 1024
    headers = {"x-api-key": token, "content-type": "application/octet-stream"}
    exchanged = one(every_type, "POST", "/bedrock/v1/messages", headers, content=b"x" * size)
    assert exchanged.answer.json()["bytes"] == size
    assert is_signed(exchanged.seen[0], every_type.provider.server.url)


def test_aws_credentials_are_rotated(every_upstream: Provider, tmp_path: Path) -> None:
    """A replaced credentials file is used without a restart."""
    with pair_of_every_type(every_upstream, tmp_path) as pair:
        token = pair.create_token("alice")

        def signed_with(secret_key: str) -> bool:
            exchanged = one(pair, "GET", "/bedrock/v1/models", {"x-api-key": token})
            return is_signed(exchanged.seen[0], every_upstream.server.url, secret_key)

        assert signed_with(SECRET_KEY)
        credentials, draft = tmp_path / "aws" / "credentials", tmp_path / "aws" / ".draft"
        draft.write_text(credentials.read_text().replace(SECRET_KEY, "rotated"))
        draft.replace(credentials)
        wait_until(lambda: signed_with("rotated"), 10, "the new secret being used")


def test_bedrock_without_aws_credentials(every_type: Pair, token: str) -> None:
    """The user is asked for a credential if nothing is configured to sign with."""
    exchanged = one(every_type, "GET", "/mantle/v1/models", {"x-api-key": token})
    assert exchanged.answer.status_code == 401
    error = exchanged.answer.json()["error"]
    assert error["code"] == "credential_required"
    assert "X-Api-Key or Authorization: Bearer" in error["message"]


@pytest.mark.parametrize("place", ["x-api-key", "authorization", GOVERNANCE])
def test_copilots_ping_needs_no_credential(every_type: Pair, token: str, place: str) -> None:
    """The ping passes without a credential of the user's own, if the Coder token is good."""
    scheme = "Bearer " if place == "authorization" else ""
    exchanged = one(every_type, "GET", "/copilot/_ping", {place: f"{scheme}{token}"})
    assert exchanged.answer.text == "OK"
    assert exchanged.credentials == []
    assert not leaks(exchanged.seen[0], [token])
    bad = one(every_type, "GET", "/copilot/_ping", {place: f"{scheme}{altered(token)}"})
    assert bad.answer.status_code == 401
    models = one(every_type, "GET", "/copilot/models", {place: f"{scheme}{token}"})
    assert models.answer.status_code == 401
    assert one(every_type, "GET", "/copilot/_ping").answer.status_code == 401


def test_copilots_ping_keeps_a_credential(every_type: Pair, token: str) -> None:
    """A credential sent with the ping reaches the provider."""
    headers = {GOVERNANCE: token, "authorization": f"Bearer {OWN['copilot']}"}
    exchanged = one(every_type, "GET", "/copilot/_ping", headers)
    assert exchanged.credentials == [("authorization", f"Bearer {OWN['copilot']}")]


def test_a_further_path_is_for_ones_own_credential(every_type: Pair, token: str) -> None:
    """The central key is used on a further path only if the configuration says so."""
    central = {"authorization": f"Bearer {token}"}
    own = {GOVERNANCE: token, "authorization": f"Bearer {OWN['openai']}"}
    denied = _post(every_type, "/openai/v1/batches", central)
    assert denied.answer.status_code == 401
    assert denied.seen == []
    error = denied.answer.json()["error"]
    assert error["code"] == "credential_required"
    assert "not for this path" in error["message"]
    passed = _post(every_type, "/openai/v1/batches", own)
    assert passed.credentials == [("authorization", f"Bearer {OWN['openai']}")]
    opted_in = one(every_type, "GET", "/openai/v1/files/f/content", central)
    assert opted_in.credentials == [("authorization", f"Bearer {CENTRAL['openai']}")]
    assert opted_in.seen[0].path == "/v1/files/f/content"


FORGED = {
    "X-AI-Bridge-Actor-ID": "admin",
    "X-AI-Bridge-Actor-Metadata-Username": "admin",
    "X-AI-Bridge-Actor-Metadata-Email": "admin@example.com",
}


@pytest.mark.parametrize(
    ("path", "header"),
    [
        (GENERATE, "x-goog-api-key"),
        ("/azure/openai/deployments/gpt-5/chat/completions", "api-key"),
        ("/bedrock/v1/messages", "x-api-key"),
        ("/openai/v1/responses", "authorization"),
    ],
)
def test_models_are_told_who_asks(every_type: Pair, token: str, path: str, header: str) -> None:
    """Models are told who asks, as authz has verified it, in both modes and despite forgeries."""
    scheme = "Bearer " if header == "authorization" else ""
    name = path.split("/")[1]
    for headers in (
        {header: f"{scheme}{token}"},
        {GOVERNANCE: token, header: f"{scheme}{OWN[name]}"},
    ):
        (seen,) = _post(every_type, path, headers | FORGED).seen
        told = {key: value for key, value in seen.headers if key.startswith("x-ai-bridge")}
        assert set(told) == {"x-ai-bridge-actor-id", "x-ai-bridge-actor-metadata-username"}
        assert told["x-ai-bridge-actor-metadata-username"] == "alice"
        assert len(told["x-ai-bridge-actor-id"]) == 36


def test_nobody_else_is_told(
    every_type: Pair, every_type_without_byok: Pair, token: str, token_without_byok: str
) -> None:
    """Users are not named on other paths, nor on any path if the setting is off."""
    for pair, method, path, bearer in (
        (every_type, "GET", "/openai/v1/models", token),
        (every_type, "GET", "/gemini/v1/models", token),
        (every_type_without_byok, "POST", "/openai/v1/responses", token_without_byok),
    ):
        headers = {"authorization": f"Bearer {bearer}", **FORGED}
        (seen,) = one(pair, method, path, headers, json={}).seen
        assert not [name for name, _ in seen.headers if name.startswith("x-ai-bridge")]


@pytest.mark.parametrize(
    "value",
    [
        "realtime, openai-insecure-api-key.sk-own, openai-beta.realtime-v1",
        "openai-insecure-api-key.{token}, openai-insecure-api-key.{token}",
        "openai-insecure-api-key.{token}x",
        "openai-insecure-api-key",
        "realtime,OpenAI-Insecure-API-Key.sk-own",
    ],
)
def test_a_key_as_a_websockets_subprotocol(every_type: Pair, token: str, value: str) -> None:
    """A key in a subprotocol would bypass the BYOK rules, so it is refused, token or not."""
    for headers in ({"authorization": f"Bearer {token}"}, {}):
        handshake = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-protocol": value.format(token=token),
        }
        exchanged = one(every_type, "GET", "/openai/v1/realtime", {**headers, **handshake})
        assert exchanged.answer.status_code == 400
        assert exchanged.seen == []
        assert "sk-own" not in exchanged.answer.text


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        ("/azure/openai/v1/models/a%2Fb", "/openai/v1/models/a%2Fb"),
        ("/gemini/v1beta/models/models%2Fa", "/v1beta/models/models%2Fa"),
        ("/google/v1/models/models%2fa", "/v1/models/models%2fa"),
        ("/bedrock/v1/models/a%2Fb", "/v1/models/a%2Fb"),
    ],
)
def test_a_slash_in_the_name_of_a_model(
    every_type: Pair, token: str, path: str, upstream: str
) -> None:
    """A model name with an escaped slash reaches the provider unchanged, with a valid signature."""
    name = path.split("/")[1]
    headers = {"authorization": f"Bearer {token}"}
    (seen,) = one(every_type, "GET", path, headers).seen
    assert seen.path == upstream
    if name == "bedrock":
        assert is_signed(seen, every_type.provider.server.url)


@pytest.mark.parametrize(
    "path",
    [
        "/azure/openai/deployments/d/embeddings",
        "/azure/openai/deployments/d/audio/speech",
        "/azure/openai/v1/images/generations",
        "/google/v1/embeddings",
        "/gemini/v1beta/models/e:embedContent",
    ],
)
def test_inference_beside_chat(every_type: Pair, token: str, path: str) -> None:
    """Embeddings, images and speech are served with the central key."""
    name = path.split("/")[1]
    call = {"model": "m", "input": "a"}
    exchanged = one(every_type, "POST", path, {"authorization": f"Bearer {token}"}, json=call)
    assert exchanged.answer.status_code == 200
    ((_, value),) = exchanged.credentials
    assert value.removeprefix("Bearer ") == CENTRAL[name]
