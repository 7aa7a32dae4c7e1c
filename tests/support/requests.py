"""Many simultaneous requests through a pair, and checks of refusals."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.pair import Pair
from tests.support.provider import RecordedRequest

MARK = "x-test-request"
"""A header that identifies a request, and passes to the provider unchanged."""

CREDENTIAL_HEADERS = frozenset(
    {
        "api-key",
        "apikey",
        "authorization",
        "cf-access-client-secret",
        "cf-aig-authorization",
        "coder-session-token",
        "cookie",
        "helicone-auth",
        "ocp-apim-subscription-key",
        "proxy-authorization",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-coder-ai-governance-token",
        "x-goog-api-key",
        "x-goog-iam-authorization-token",
        "x-litellm-api-key",
        "x-portkey-api-key",
    }
)
"""Every header that could be searched for a credential."""

MODELS = {
    "anthropic": "/anthropic/v1/models",
    "openai": "/openai/v1/models",
    "chatgpt": "/chatgpt/v1/models",
    "copilot": "/copilot/models",
}
"""A path of each provider that answers a GET."""


@dataclass
class Exchange:
    """A request, its answer and what reached the provider."""

    answer: httpx.Response
    seen: list[RecordedRequest] = field(default_factory=list)

    @property
    def credentials(self) -> list[tuple[str, str]]:
        """The credential headers at the provider, which must have seen exactly one request."""
        assert len(self.seen) == 1, f"{len(self.seen)} requests reached the provider"
        return [pair for pair in self.seen[0].headers if pair[0] in CREDENTIAL_HEADERS]


def exchange(pair: Pair, requests: Sequence[httpx.Request]) -> list[Exchange]:
    """Send requests, sixteen at a time, and return the exchanges in the same order."""
    pair.provider.take()
    for number, request in enumerate(requests):
        request.headers[MARK] = str(number)
    exchanges = [Exchange(answer) for answer in asyncio.run(_send_all(requests))]
    for seen in pair.provider.take():
        (number_text,) = seen.all(MARK)
        exchanges[int(number_text)].seen.append(seen)
    return exchanges


async def _send_all(requests: Sequence[httpx.Request]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
    answers: dict[int, httpx.Response] = {}
    todo = iter(enumerate(requests))
    # Loading the system's certificates would take longer than the requests, which are in clear.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with httpx.AsyncClient(
        limits=limits, timeout=30, trust_env=False, verify=context
    ) as client:

        async def work() -> None:
            for number, request in todo:
                answers[number] = await client.send(request)

        await asyncio.gather(*(work() for _ in range(16)))
    return [answers[number] for number in range(len(requests))]


def one(pair: Pair, method: str, path: str, headers: Any = None, **options: Any) -> Exchange:
    """Send one request."""
    request = httpx.Request(method, f"{pair.url}{path}", headers=headers, **options)
    return exchange(pair, [request])[0]


def leaks(seen: RecordedRequest, secrets: Sequence[str]) -> list[str]:
    """Return the parts of a request at the provider that contain one of the secrets."""
    places = [("path", seen.path), ("query", seen.query), *seen.headers]
    return [name for name, value in places if any(secret in name + value for secret in secrets)]


def error_of(answer: httpx.Response, shape: str) -> dict[str, Any]:
    """Return the error object of an answer, after a check of its shape.

    Args:
        shape: ``anthropic``, ``openai``, or ``any`` for an answer to no known provider.
    """
    assert answer.headers["content-type"] == "application/json", answer.text
    body = answer.json()
    error: dict[str, Any] = body["error"]
    assert isinstance(error["message"], str)
    assert error["message"]
    if shape == "openai":
        assert set(body) == {"error"}, body
        assert set(error) == {"message", "type", "param", "code"}, body
        assert error["param"] is None
        assert answer.headers["x-request-id"]
    else:
        assert set(body) == {"type", "error", "request_id"}, body
        assert body["type"] == "error"
        assert set(error) >= {"type", "message"}, body
        assert body["request_id"] == answer.headers["request-id"]
        assert shape == "any" or set(error) == {"type", "message"}, body
    return error


def shape_of(provider: str) -> str:
    """Return the provider whose JSON format a provider's errors have."""
    return "anthropic" if provider == "anthropic" else "openai"


def check_refusal(exchanged: Exchange, status: int, error_type: str, shape: str) -> dict[str, Any]:
    """Assert a refusal by the gateway: status, body, headers, and no request at the provider."""
    answer = exchanged.answer
    assert answer.status_code == status, answer.text
    error = error_of(answer, shape)
    assert error["type"] == error_type
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-should-retry"] == "false"
    else:
        assert "www-authenticate" not in answer.headers
        assert "x-should-retry" not in answer.headers
    assert exchanged.seen == []
    return error
