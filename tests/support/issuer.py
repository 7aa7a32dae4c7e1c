"""An issuer of JWTs: an HTTPS server with metadata and keys, and the signing of JWTs."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.threaded import served

AUDIENCE = "https://gateway.test"
JOB_TOKEN = "token-of-the-job"
Key = RSAKey | ECKey | OKPKey | OctKey


def new_key(kid: str = "one") -> ECKey:
    """Create a signing key; elliptic ones are created quickly."""
    return ECKey.generate_key("P-256", {"kid": kid, "alg": "ES256", "use": "sig"})


@dataclass
class IssuerServer:
    """An issuer, with settings that a test may change.

    Attributes:
        url: its identifier.
        keys: those that it publishes.
        key: the one that signs.
        calls: the paths that were asked for.
        metadata: replaces values of the metadata.
        jwks: replaces the document with the keys, as bytes.
        delay: seconds before an answer.
        status: of every answer.
        job: claims of the JWT that a job gets.
    """

    url: str = ""
    keys: list[ECKey] = field(default_factory=lambda: [new_key()])
    calls: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    jwks: bytes | None = None
    delay: float = 0.0
    status: int = 200
    job: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> ECKey:
        """Return the newest key."""
        return self.keys[-1]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return claims that are valid now; None leaves one out."""
        now = int(time.time())
        made = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "repo:acme/app:ref:refs/heads/main",
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
            **changed,
        }
        return {name: value for name, value in made.items() if value is not None}

    def sign(
        self, key: Key | None = None, header: dict[str, Any] | None = None, **changed: Any
    ) -> str:
        """Return a JWT with ``claims(**changed)``."""
        key = key or self.key
        head = {"alg": "ES256", "kid": key.kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(head, self.claims(**changed), key, algorithms=[head["alg"]])

    def app(self) -> Starlette:
        """Return the issuer's application."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/keys", self._keys),
                Route("/elsewhere", self._redirect),
                Route("/job", self._job),
            ]
        )

    async def _metadata(self, request: Request) -> Response:
        await self._note(request)
        found = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.metadata}
        return JSONResponse(found, self.status)

    async def _keys(self, request: Request) -> Response:
        await self._note(request)
        if self.jwks is not None:
            return Response(self.jwks, self.status)
        return JSONResponse(
            {"keys": [key.as_dict(private=False) for key in self.keys]}, self.status
        )

    async def _job(self, request: Request) -> Response:
        """Answer as GitHub does to a job that asks for its JWT."""
        await self._note(request)
        if request.headers.get("authorization") != f"Bearer {JOB_TOKEN}":
            return Response(status_code=401)
        jwt = self.sign(**self.job, aud=request.query_params["audience"])
        return JSONResponse({"count": 1, "value": jwt})

    async def _redirect(self, request: Request) -> Response:
        await self._note(request)
        return Response(status_code=302, headers={"location": f"{self.url}/keys"})

    async def _note(self, request: Request) -> None:
        self.calls.append(request.url.path)
        await asyncio.sleep(self.delay)


@contextlib.contextmanager
def issuer_server(certificate: tuple[Path, Path]) -> Iterator[IssuerServer]:
    """Serve an issuer at https://127.0.0.1 until the block ends.

    Args:
        certificate: PEM files of the chain and its key, valid for 127.0.0.1.
    """
    issuer = IssuerServer()
    with served(issuer.app(), certificate=certificate) as port:
        issuer.url = f"https://127.0.0.1:{port}"
        yield issuer
