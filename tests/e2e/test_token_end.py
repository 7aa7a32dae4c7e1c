"""The end of tokens, as told to clients and to a webhook through a real pair."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.check.ext_authz import TOKEN_END_HEADER
from tests.support.pair import Pair, Provider, pair, wait_until
from tests.support.threaded import served

_SECRET = "a-secret-for-the-webhook-of-this-test"


def _end_in(gateway: Pair, token: str) -> str | None:
    """Return the header of a response to a request with a token."""
    response = httpx.post(
        f"{gateway.url}/anthropic/v1/messages/count_tokens",
        headers={"x-api-key": token},
        json={"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    )
    assert response.status_code == 200, response.text
    end: str | None = response.headers.get(TOKEN_END_HEADER)
    return end


def test_a_response_tells_the_end_within_a_day(gateway: Pair) -> None:
    """A response tells the end within a day, also when cached and after a rotation."""
    token = gateway.create_token("alice", timedelta(days=2))
    assert [_end_in(gateway, token) for _ in range(2)] == [None, None]
    response = httpx.post(
        f"{gateway.url}/api/v2/users/me/keys/{token[:10]}/rotate",
        headers={"coder-session-token": token},
        json={"overlap": 7_200_000_000_000},
    )
    new = response.json()["key"]
    ends = [_end_in(gateway, token) or "" for _ in range(2)]
    assert ends[0] == ends[1]
    left = datetime.fromisoformat(ends[0]) - datetime.now(UTC)
    assert timedelta(hours=1) < left <= timedelta(hours=2)
    assert _end_in(gateway, new) is None
    gateway.delete_token(token)
    gateway.delete_token(new)


def test_a_notice_reaches_the_webhook_once(provider: Provider) -> None:
    """A gateway sends one notice for a token that ends within a day, also after a restart."""
    got: list[tuple[str, bytes]] = []

    async def receive(request: Request) -> Response:
        got.append((request.headers["webhook-id"], await request.body()))
        return Response(status_code=204)

    app = Starlette(routes=[Route("/hook", receive, methods=["POST"])])
    with served(app) as port:
        webhook = {"url": f"http://127.0.0.1:{port}/hook", "secret": {"env": "HOOK_SECRET"}}
        settings = {"notices": {"webhook": webhook}}
        with pair(provider, start=False, tokens=settings) as gateway:
            gateway.environ["HOOK_SECRET"] = _SECRET
            gateway.create_user("alice")
            tokens = []
            for count in (1, 2):
                tokens.append(gateway.create_token("alice", timedelta(days=8)))
                _age(gateway, tokens[-1], timedelta(days=7.5))
                gateway.start()
                wait_until(lambda expected=count: len(got) >= expected, 60, "a notice")
                gateway.stop()
                assert _SECRET not in gateway.stderr
    assert [notice for notice, _ in got] == [f"token-{token[:10]}-86400" for token in tokens]
    for token, (_, body) in zip(tokens, got, strict=True):
        assert json.loads(body)["data"]["username"] == "alice"
        assert token[11:] not in body.decode()


def _age(gateway: Pair, token: str, by: timedelta) -> None:
    """Move the creation and the end of a token into the past."""
    file = gateway.folder / gateway.identity.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as connection, connection:
        select = "SELECT created_at, expires_at FROM api_keys WHERE id = ?"
        [row] = connection.execute(select, (token[:10],)).fetchall()
        moved = [
            (datetime.fromisoformat(text) - by).isoformat(timespec="microseconds") for text in row
        ]
        connection.execute(
            "UPDATE api_keys SET created_at = ?, expires_at = ? WHERE id = ?", (*moved, token[:10])
        )
