"""A model on this machine that takes no credential, such as Ollama's: ``key: none``."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.pair import Pair, pair
from tests.support.requests import CREDENTIAL_HEADERS
from tests.support.threaded import served

GOVERNANCE = "x-coder-ai-governance-token"
CHAT = "/local/v1/chat/completions"


async def _show(request: Request) -> Response:
    return JSONResponse({"path": request.url.path, "headers": list(request.headers.items())})


@pytest.fixture(scope="module")
def local() -> Iterator[Pair]:
    """A pair in front of a model that echoes the request it was sent."""
    app = Starlette(routes=[Route("/{rest:path}", _show, methods=["GET", "POST"])])
    with served(app) as port:
        one = {
            "name": "local",
            "type": "openai-compat",
            "base_url": f"http://127.0.0.1:{port}/v1",
            "key": "none",
        }
        with pair(providers=[one]) as running:
            running.create_user("alice")
            yield running


def _credentials(answer: httpx.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return [pair for pair in answer.json()["headers"] if pair[0] in CREDENTIAL_HEADERS]


@pytest.mark.parametrize("header", ["authorization", "x-api-key", GOVERNANCE])
def test_a_token_is_enough(local: Pair, header: str) -> None:
    """The token is removed, and no other credential takes its place."""
    token = local.create_token("alice")
    value = f"Bearer {token}" if header == "authorization" else token
    answer = httpx.post(f"{local.url}{CHAT}", headers={header: value}, json={})
    assert _credentials(answer) == []
    assert token[11:] not in answer.text
    assert answer.json()["path"] == "/v1/chat/completions"


def test_ones_own_credential(local: Pair) -> None:
    """An own credential beside the governance header is passed on, for a model that wants one."""
    headers = {GOVERNANCE: local.create_token("alice"), "authorization": "Bearer sk-own"}
    answer = httpx.post(f"{local.url}{CHAT}", headers=headers, json={})
    assert _credentials(answer) == [["authorization", "Bearer sk-own"]]


@pytest.mark.parametrize("bad", ["none", "deleted"])
def test_no_good_token(local: Pair, bad: str) -> None:
    """A missing or deleted token is a 401, even if the model takes no credential."""
    headers = {}
    if bad == "deleted":
        token = local.create_token("alice")
        local.delete_token(token)
        headers = {"authorization": f"Bearer {token}"}
    assert httpx.post(f"{local.url}{CHAT}", headers=headers, json={}).status_code == 401


def test_what_is_said_of_it(local: Pair) -> None:
    """The banner has lines for the provider, and the configuration is valid without a note."""
    assert "/local/v1" in local.stdout
    checked = local.command("config", "check")
    assert "note" not in checked.stdout
    assert "valid" in checked.stdout
