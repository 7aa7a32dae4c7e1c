"""The served paths and methods, and the refusals of all others."""

import json

import pytest

from tests.support.pair import OWN_KEYS, Pair
from tests.support.requests import check_refusal, one

NOT_SERVED = [
    ("GET", "/nope/v1/models", "any"),
    ("GET", "/", "any"),
    ("GET", "/api/v2/ai-gateway", "any"),
    ("GET", "/api/v2/ai-gateway/nope/v1/models", "any"),
    ("GET", "/Anthropic/v1/models", "any"),
    ("GET", "/anthropicx/v1/models", "any"),
    ("GET", "/anthropic", "anthropic"),
    ("GET", "/anthropic/", "anthropic"),
    ("POST", "/anthropic/v1/complete", "anthropic"),
    ("POST", "/anthropic/v1/messages/", "anthropic"),
    ("POST", "/anthropic/v1/messages/batches", "anthropic"),
    ("GET", "/anthropic/v1/organizations/me", "anthropic"),
    ("GET", "/anthropic/v1/modelsx", "anthropic"),
    ("GET", "/anthropic/v1/messages", "anthropic"),
    ("DELETE", "/anthropic/v1/models/claude", "anthropic"),
    ("POST", "/openai/v1/batches", "openai"),
    ("GET", "/openai/v1/files", "openai"),
    ("GET", "/openai/v1/organization/users", "openai"),
    ("POST", "/openai/v1/fine_tuning/jobs", "openai"),
    ("POST", "/openai/chat/completions", "openai"),
    ("DELETE", "/openai/v1/models/ft", "openai"),
    ("PUT", "/openai/v1/responses", "openai"),
    ("PATCH", "/openai/v1/chat/completions", "openai"),
]


@pytest.mark.parametrize(("method", "path", "shape"), NOT_SERVED)
def test_what_is_not_listed_is_404(
    gateway: Pair, token: str, method: str, path: str, shape: str
) -> None:
    """The 404 names method, path and what to do, and the provider gets no request."""
    exchanged = one(gateway, method, path, {"x-api-key": token})
    error = check_refusal(exchanged, 404, "not_found_error", shape)
    shown = path
    for prefix in ("/api/v2/ai-gateway", "/api/v2/aibridge"):
        if path.startswith(f"{prefix}/"):
            shown = path.removeprefix(prefix)
    assert error["message"].startswith(f"route not supported: {method} {shown}. ")


@pytest.mark.parametrize(("method", "path", "shape"), NOT_SERVED)
def test_without_a_token_it_is_401(gateway: Pair, method: str, path: str, shape: str) -> None:
    """A caller without a token can't find out which routes exist."""
    exchanged = one(gateway, method, path)
    check_refusal(exchanged, 401, "authentication_error", shape)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v2/workspaces"),
        ("GET", "/api/v2/ai-gateway/sessions"),
        ("POST", "/api/v2/other/openai/v1/chat/completions"),
    ],
)
def test_what_is_no_route_of_coders_api_is_coders_404(
    gateway: Pair, token: str, method: str, path: str
) -> None:
    """An unknown path of Coder's API is its own 404 from authz, with a token and without one."""
    for headers in ({"x-api-key": token}, {}):
        exchanged = one(gateway, method, path, headers)
        assert exchanged.answer.status_code == 404
        assert exchanged.answer.json() == {"message": "Route not found."}
        assert not exchanged.seen


def test_own_credentials_open_no_further_paths(gateway: Pair, token: str) -> None:
    """BYOK requests have the same list of paths."""
    headers = {
        "x-coder-ai-governance-token": token,
        "authorization": f"Bearer {OWN_KEYS['openai']}",
    }
    exchanged = one(gateway, "POST", "/openai/v1/batches", headers)
    check_refusal(exchanged, 404, "not_found_error", "openai")


@pytest.mark.parametrize(
    "path", ["/anthropic", "/anthropic/", "/api/v2/ai-gateway/anthropic", "/api/v2/aibridge/openai"]
)
def test_a_probe_without_a_credential(gateway: Pair, path: str) -> None:
    """Claude Code's first request, a HEAD on the base URL, gets an empty 401, logged at info."""
    exchanged = one(gateway, "HEAD", f"{path}?probe")
    answer = exchanged.answer
    assert answer.status_code == 401
    assert answer.content == b""
    assert answer.headers["www-authenticate"] == "Bearer"
    assert exchanged.seen == []
    request_id = answer.headers.get("request-id") or answer.headers["x-request-id"]
    lines = [json.loads(line) for line in gateway.stderr.splitlines() if request_id in line]
    (line,) = (line for line in lines if line.get("event") == "request refused")
    assert line["level"] == "info"
    assert line["status"] == 401


def test_a_refusal_is_logged(gateway: Pair, token: str) -> None:
    """A refusal is logged with its true reason, which the client is not told."""
    exchanged = one(gateway, "GET", "/openai/v1/models", {"x-api-key": f"{token[:11]}{'x' * 22}"})
    request_id = exchanged.answer.headers["x-request-id"]
    lines = [json.loads(line) for line in gateway.stderr.splitlines() if request_id in line]
    (line,) = (line for line in lines if line.get("event") == "request refused")
    assert (line["level"], line["reason"]) == ("info", "token_secret_wrong")
    assert line["token_id"] == token[:10]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(gateway: Pair, path: str) -> None:
    """Health checks without a credential get an empty 200, and the provider is not asked."""
    exchanged = one(gateway, "GET", path)
    assert exchanged.answer.status_code == 200
    assert exchanged.answer.content == b""
    assert exchanged.seen == []


def test_a_path_that_climbs_is_not_served(gateway: Pair, token: str) -> None:
    """A path with dots or escaped slashes opens no unlisted path."""
    for path in (
        "/anthropic/v1/models/../organizations",
        "/openai/v1/models/..%2forganization",
        "/openai/v1/models/%2e%2e/organization",
        "/openai/v1/responses/..%5c..%5corganization",
    ):
        exchanged = one(gateway, "GET", path, {"x-api-key": token})
        assert exchanged.answer.status_code in (400, 404), path
        assert exchanged.seen == []
        error = exchanged.answer.json()["error"]
        assert error["type"] in ("invalid_request_error", "not_found_error")
        assert error["message"]


def test_duplicate_credential_headers_are_refused(gateway: Pair, token: str) -> None:
    """A credential header with two values is refused, since it could be read in two ways."""
    for name in (b"authorization", b"x-api-key", b"x-coder-ai-governance-token"):
        value = (b"Bearer " if name == b"authorization" else b"") + token.encode()
        exchanged = one(gateway, "GET", "/openai/v1/models", [(name, value), (name, value)])
        check_refusal(exchanged, 400, "invalid_request_error", "openai")
