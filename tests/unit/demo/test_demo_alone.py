"""The demo's stand-in as ``authz up --demo`` runs it, without what only tests need."""

from collections.abc import Iterator

import httpx
import pytest

from authz.demo.accounts import Accounts
from authz.demo.app import create_app
from authz.demo.server import Server

BEARER = {"authorization": "Bearer sk-own-0123456789abcdef"}
ASK = {"messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """A client for the demo."""
    with (
        Server(create_app(Accounts(), chunk_delay=0.001)) as server,
        httpx.Client(base_url=server.url) as http,
    ):
        yield http


@pytest.mark.parametrize("model", ["fail-429", "abort-midstream", "error-midstream", "slow-9"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_name_of_a_model_fails(http: httpx.Client, model: str, stream: bool) -> None:
    """The names that let the tests' stand-in fail are models like any other."""
    for path, end in (("chat/completions", "[DONE]"), ("responses", "response.completed")):
        call = {"model": model, "stream": stream, **ASK}
        answer = http.post(f"/openai/v1/{path}", json=call, headers=BEARER)
        assert answer.status_code == 200
        assert answer.headers["x-demo-credential-hint"] == "sk-o...cdef"
        assert (end in answer.text) is stream


@pytest.mark.parametrize("path", ["images/generations", "conversations", "audio/speech"])
def test_rare_paths_are_not_there(http: httpx.Client, path: str) -> None:
    """A path that only tests need gets the provider's 404."""
    answer = http.post(f"/openai/v1/{path}", json={"model": "m"}, headers=BEARER)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"Invalid URL (POST /v1/{path})"


def test_a_websocket_is_refused_so_that_codex_goes_on(http: httpx.Client) -> None:
    """A handshake gets 426, after which Codex uses HTTP, and a plain GET gets 405."""
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for path in ("/openai/v1/responses", "/chatgpt/backend-api/codex/responses"):
        assert http.get(path, headers={**BEARER, **upgrade}).status_code == 426
        assert http.get(path, headers=BEARER).status_code == 405


@pytest.mark.parametrize("path", ["embeddings", "completions"])
def test_inference(http: httpx.Client, path: str) -> None:
    """Embeddings and completions answer with the model that was asked for."""
    call = {"model": "m", "input": "Hi", "prompt": "Hi"}
    answer = http.post(f"/openai/v1/{path}", json=call, headers=BEARER)
    assert answer.json()["model"] == "m"


@pytest.mark.parametrize("kind", ["azure", "gemini", "bedrock"])
def test_every_type_lists_its_models(http: httpx.Client, kind: str) -> None:
    """Each type that a configuration may have is there."""
    path = {"azure": "/openai/v1/models", "gemini": "/v1beta/models", "bedrock": "/v1/models"}[kind]
    assert http.get(f"/{kind}{path}", headers=BEARER).status_code == 200
