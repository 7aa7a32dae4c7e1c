"""Calls from a web page in a browser, which sends a preflight first."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.pair import Pair, Provider, pair

ORIGIN = "https://app.example.com"
PATH = "/anthropic/v1/messages"
CALL = {"model": "any", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture(scope="module")
def cross(provider: Provider) -> Iterator[Pair]:
    """A pair that pages of two origins may call."""
    origins = [ORIGIN, "http://localhost:5173"]
    with pair(provider, cors={"origins": origins}) as running:
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def client(cross: Pair) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=cross.url) as running:
        yield running


def _allowed(answer: httpx.Response) -> str | None:
    origin: str | None = answer.headers.get("access-control-allow-origin")
    return origin


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:5173"])
def test_preflight(client: httpx.Client, cross: Pair, origin: str) -> None:
    """A preflight of a configured origin needs no token, and no provider sees it."""
    cross.provider.take()
    answer = client.options(PATH, headers={"origin": origin, **PREFLIGHT})
    assert answer.status_code == 200
    assert _allowed(answer) == origin
    assert "POST" in answer.headers["access-control-allow-methods"].split(",")
    assert answer.headers["access-control-allow-headers"].split(",") == ["authorization", "*"]
    assert "access-control-allow-credentials" not in answer.headers
    assert cross.provider.take() == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.test",
        "https://xapp.example.com",
        "HTTPS://APP.EXAMPLE.COM",
        "null",
        "",
    ],
)
def test_preflight_of_another_origin(client: httpx.Client, origin: str) -> None:
    """A preflight of any other origin is a 401 without a token, and allows nothing."""
    answer = client.options(PATH, headers={"origin": origin, **PREFLIGHT})
    assert answer.status_code == 401
    assert _allowed(answer) is None


def test_options_without_preflight(client: httpx.Client) -> None:
    """An OPTIONS of a configured origin that is not a preflight needs a token."""
    assert client.options(PATH, headers={"origin": ORIGIN}).status_code == 401


def test_answer(client: httpx.Client, cross: Pair) -> None:
    """A page of a configured origin may read its answer, including a stream."""
    headers = {"origin": ORIGIN, "x-api-key": cross.create_token("alice")}
    for stream in (False, True):
        answer = client.post(PATH, headers=headers, json={**CALL, "stream": stream})
        assert answer.status_code == 200
        assert _allowed(answer) == ORIGIN
        assert answer.headers["access-control-expose-headers"] == "*"
    other = client.post(PATH, headers={**headers, "origin": "https://evil.test"}, json=CALL)
    assert _allowed(other) is None


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (PATH, {}, 401),
        (PATH, {"x-api-key": "x" * 10 + "-" + "y" * 22}, 401),
        ("/nope", {}, 401),
        (PATH, {"x-large": "a" * 65_000}, 431),
    ],
)
def test_refusals(client: httpx.Client, path: str, headers: dict[str, str], status: int) -> None:
    """A page may read why its request was refused."""
    answer = client.post(path, headers={"origin": ORIGIN, **headers}, json=CALL)
    assert answer.status_code == status
    assert _allowed(answer) == ORIGIN
    assert answer.json()["error"]["message"]


def test_paths_that_are_not_served(client: httpx.Client, cross: Pair) -> None:
    """A page may read the 404 of a path that is not served, also for an upgrade."""
    headers = {"origin": ORIGIN, "x-api-key": cross.create_token("alice")}
    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    for path in ("/nope", "/anthropic/v1/nope", "/anthropic/v1/messages/%2525"):
        for more in ({}, upgrade):
            answer = client.get(path, headers={**headers, **more})
            assert answer.status_code == 404
            assert _allowed(answer) == ORIGIN
            assert answer.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("path", ["/ui/", "/ui/sign-in", "/api/v2/users/me/keys"])
def test_page_and_token_api(client: httpx.Client, path: str) -> None:
    """The page and the token API, which use sessions, are closed to pages of other origins."""
    for method in ("GET", "OPTIONS"):
        answer = client.request(method, path, headers={"origin": ORIGIN, **PREFLIGHT})
        assert _allowed(answer) is None


def test_off_by_default(gateway: Pair) -> None:
    """Without the setting a preflight is refused, and no origin is allowed."""
    answer = httpx.options(gateway.url + PATH, headers={"origin": ORIGIN, **PREFLIGHT})
    assert answer.status_code == 401
    assert _allowed(answer) is None
