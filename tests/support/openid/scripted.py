"""An OpenID provider that answers as a test wants, for attacks that a correct one prevents."""

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.issuer import IssuerServer
from tests.support.openid import CLIENT_ID
from tests.support.threaded import served


@dataclass
class ScriptedProvider(IssuerServer):
    """The provider, with settings that a test may change.

    Attributes:
        requests: the parameters of the authorization requests by code.
        forms: what the token endpoint got.
        id_token: replaces claims of the ID token.
        forged: replaces the ID token.
        answer: adds parameters to the authorization response; None leaves one out.
        user: the answer of the UserInfo endpoint; None means that there is no such endpoint.
    """

    requests: dict[str, dict[str, str]] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    id_token: dict[str, Any] = field(default_factory=dict)
    forged: str | None = None
    answer: dict[str, str | None] = field(default_factory=dict)
    user: dict[str, Any] | None = None

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/userinfo", self._userinfo),
        ]
        app = super().app()
        return Starlette(routes=[*routes, *app.routes])

    def begin(self, location: str) -> str:
        """Return the code for an authorization request, as after a sign-in."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        code = f"code-{len(self.requests)}"
        self.requests[code] = query
        return code

    def callback(self, location: str) -> str:
        """Return the URL that leads back to the gateway, as after a sign-in."""
        code = self.begin(location)
        query = self.requests[code]
        values = {"code": code, "state": query["state"], **self.answer}
        given = {name: value for name, value in values.items() if value is not None}
        return f"{query['redirect_uri']}?{urlencode(given)}"

    async def _authorize(self, request: Request) -> Response:
        return Response(status_code=302, headers={"location": self.callback(str(request.url))})

    async def _token(self, request: Request) -> Response:
        body = (await request.body()).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.forms.append(form)
        # A code works once, as RFC 6749 section 4.1.2 asks.
        query = self.requests.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "").encode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=").decode()
        if query is None or query["code_challenge"] != digest:
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {"aud": CLIENT_ID, "nonce": query["nonce"], "sub": "1", **self.id_token}
        return JSONResponse(
            {
                "access_token": "access",
                "token_type": "Bearer",
                "id_token": self.sign(**claims) if self.forged is None else self.forged,
            }
        )

    async def _userinfo(self, request: Request) -> Response:
        await self._note(request)
        return JSONResponse(self.user or {})

    async def _metadata(self, request: Request) -> Response:
        self.metadata = {
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            **({} if self.user is None else {"userinfo_endpoint": f"{self.url}/userinfo"}),
            **self.metadata,
        }
        return await super()._metadata(request)


@contextlib.contextmanager
def scripted_provider(certificate: tuple[Path, Path]) -> Iterator[ScriptedProvider]:
    """Serve a provider at https://127.0.0.1 until the block ends."""
    provider = ScriptedProvider()
    with served(provider.app(), certificate=certificate) as port:
        provider.url = f"https://127.0.0.1:{port}"
        yield provider
