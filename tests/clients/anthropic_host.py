"""Anthropic's host as Claude Code uses it on a terminal: messages, and the requests of a log-in."""

import json
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.pair import CENTRAL_KEYS, SUBSCRIPTION
from tests.support.provider import Accounts, create_app

PROFILE = {
    "account": {
        "uuid": "00000000-0000-4000-8000-000000000001",
        "email": "alice@example.com",
        "full_name": "Alice",
        "display_name": "Alice",
        "has_claude_max": False,
        "has_claude_pro": True,
    },
    "organization": {
        "uuid": "00000000-0000-4000-8000-000000000002",
        "name": "Example",
        "organization_type": "claude_pro",
        "rate_limit_tier": "default_claude_ai",
        "billing_type": "stripe_subscription",
    },
}
ANSWERS: dict[str, object] = {
    "/api/oauth/profile": PROFILE,
    "/api/oauth/usage": {"five_hour": None, "seven_day": None},
    "/api/oauth/claude_cli/roles": {"organization_role": "admin"},
    "/api/claude_cli/bootstrap": {},
    "/v1/mcp_servers": {"data": [], "has_more": False},
}
"""Answers to the log-in's own token, by path. Any other path below ``/api/`` gets ``{}``."""


@dataclass(frozen=True)
class Asked:
    """A request as it reached the host."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def credentials(self) -> list[tuple[str, str]]:
        """Return the credential headers and their values."""
        return [pair for pair in self.headers if pair[0] in ("authorization", "x-api-key")]


class AnthropicHost:
    """Leaves messages to the stand-in; other paths but ``/api/hello`` need the log-in's token."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        accounts = Accounts(
            central=CENTRAL_KEYS,
            own=frozenset({SUBSCRIPTION}),
            types={"anthropic": "anthropic"},
        )
        self._stand_in: ASGIApp = create_app(accounts, chunk_delay=0.01)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        path = scope["path"]
        headers = tuple((name.lower(), value) for name, value in request.headers.items())
        asked = Asked(scope["method"], path, headers)
        self.asked.append(asked)
        if path == "/api/hello":
            await JSONResponse({"message": "hello"})(scope, receive, send)
        elif path in ANSWERS or (path.startswith("/api/") and "event_logging" not in path):
            await request.body()
            if asked.credentials == [("authorization", f"Bearer {SUBSCRIPTION}")]:
                answer = JSONResponse(ANSWERS.get(path, {}))
            else:
                answer = JSONResponse({"type": "error", "error": {"type": "authentication_error"}})
                answer.status_code = 401
            await answer(scope, receive, send)
        else:
            # The stand-in has each provider below its name.
            below = {"path": f"/anthropic{path}", "raw_path": b"/anthropic" + scope["raw_path"]}
            await self._stand_in({**scope, **below}, receive, send)

    def take(self) -> list[Asked]:
        """Return the requests since the last call."""
        taken, self.asked[:] = list(self.asked), []
        return taken


class ClaudeHost:
    """Claude's other host, which a client only needs to reach through a tunnel."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await JSONResponse({"message": "hello"})(scope, receive, send)


def log_in() -> str:
    """Return the content of ``.claude/.credentials.json`` after a log-in to Claude Code."""
    return json.dumps(
        {
            "claudeAiOauth": {
                "accessToken": SUBSCRIPTION,
                "refreshToken": "sk-ant-ort01-own-3a9b7c5d1e0f",
                "expiresAt": 4102444800000,
                "scopes": [
                    "user:inference",
                    "user:profile",
                    "user:sessions:claude_code",
                    "user:mcp_servers",
                ],
                "subscriptionType": "pro",
                "rateLimitTier": "default_claude_ai",
            }
        }
    )
