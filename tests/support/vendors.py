"""The token endpoints of vendors, which check every field of the documented exchanges."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.threaded import served

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhdXRoeiJ9.c2lnbmF0dXJl"
FEDERATED = "ya29.federated-3a9b7c5d"
CREDENTIALS = {
    "anthropic": "sk-ant-oat01-own-3a9b7c5d1e0f",
    "openai": "sk-openai-workload-5d1e0f",
    "entra": "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhcHBpZCI6ImFpIn0.ZW50cmE",
    "google": "ya29.impersonated-7c5d1e0f",
    "azure-machine": "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJ4bXMiOiJ2bSJ9.aW1kcw",
    "google-machine": "ya29.metadata-0f3a9b7c",
}
ACCOUNT = "ai@project.iam.gserviceaccount.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN = "urn:ietf:params:oauth:token-type:"
_GRANT = "urn:ietf:params:oauth:grant-type:"


@dataclass
class Vendors:
    """All vendors at one address, with settings that a test may change.

    Attributes:
        url: where they are.
        lifetime: seconds of what they give.
        calls: the paths that were asked for.
        answer: replaces every answer of a token endpoint.
    """

    url: str = ""
    lifetime: int = 3600
    calls: list[str] = field(default_factory=list)
    answer: dict[str, Any] | None = None

    def settings(self, kind: str, folder: Path, ca_file: Path) -> dict[str, Any]:
        """Return the settings of a workload that they accept; its JWT is in the folder."""
        (folder / "jwt").write_text(f"{JWT}\n")
        common = {"type": kind, "ca_file": str(ca_file), "token_url": f"{self.url}/{kind}/token"}
        jwt = {**common, "token_file": str(folder / "jwt")}
        return {
            "anthropic": {
                **jwt,
                "federation_rule_id": "fdrl_01",
                "organization_id": "0e7d3c1a-0000-4000-8000-000000000000",
                "service_account_id": "svac_01",
                "workspace_id": "wrkspc_01",
            },
            "openai": {**jwt, "identity_provider_id": "idp_01", "service_account_id": "svc_01"},
            "entra": {**jwt, "tenant_id": "tenant", "client_id": "client"},
            "google": {
                **jwt,
                "audience": "//iam.googleapis.com/projects/1/providers/p",
                "service_account": ACCOUNT,
                "impersonation_url": f"{self.url}/accounts/",
            },
            "azure-machine": {**common, "client_id": "identity"},
            "google-machine": common,
        }[kind]

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route(f"/{kind}/token", self._endpoint(kind), methods=["GET", "POST"])
            for kind in CREDENTIALS
        ]
        account = Route("/accounts/{account}", self._impersonate, methods=["POST"])
        return Starlette(routes=[*routes, account])

    def _endpoint(self, kind: str) -> Any:
        async def endpoint(request: Request) -> Response:
            self.calls.append(kind)
            if self.answer is not None:
                return JSONResponse(self.answer, 400)
            given, headers = await _given(request), request.headers
            wanted, right = _EXPECTED[kind]
            if given != wanted or not right(request.method, headers):
                return JSONResponse({"error": "invalid_request", "error_description": JWT}, 400)
            text = FEDERATED if kind == "google" else CREDENTIALS[kind]
            # Azure's metadata server writes a text.
            lifetime: object = str(self.lifetime) if kind == "azure-machine" else self.lifetime
            return JSONResponse(
                {"access_token": text, "token_type": "Bearer", "expires_in": lifetime}
            )

        return endpoint

    async def _impersonate(self, request: Request) -> Response:
        self.calls.append("impersonation")
        if request.headers.get("authorization") != f"Bearer {FEDERATED}":
            return JSONResponse({"error": {"status": "UNAUTHENTICATED"}}, 401)
        if request.path_params["account"] != f"{ACCOUNT}:generateAccessToken":
            return JSONResponse({"error": {"status": "NOT_FOUND"}}, 400)
        if await request.json() != {"scope": [_SCOPE]}:
            return JSONResponse({"error": {"status": "INVALID_ARGUMENT"}}, 400)
        end = datetime.now(UTC) + timedelta(seconds=self.lifetime)
        return JSONResponse(
            {"accessToken": CREDENTIALS["google"], "expireTime": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        )


async def _given(request: Request) -> dict[str, str]:
    if request.method == "GET":
        return dict(parse_qsl(request.url.query))
    body = await request.body()
    if request.headers["content-type"] == "application/json":
        return {"": "json", **json.loads(body)}
    return dict(parse_qsl(body.decode()))


_EXPECTED: dict[str, tuple[dict[str, str], Any]] = {
    "anthropic": (
        {
            "": "json",
            "grant_type": f"{_GRANT}jwt-bearer",
            "assertion": JWT,
            "federation_rule_id": "fdrl_01",
            "organization_id": "0e7d3c1a-0000-4000-8000-000000000000",
            "service_account_id": "svac_01",
            "workspace_id": "wrkspc_01",
        },
        lambda _, headers: (
            {"oauth-2025-04-20", "oidc-federation-2026-04-01"}
            == set(headers.get("anthropic-beta", "").split(","))
        ),
    ),
    "openai": (
        {
            "": "json",
            "grant_type": f"{_GRANT}token-exchange",
            "subject_token_type": f"{_TOKEN}jwt",
            "subject_token": JWT,
            "identity_provider_id": "idp_01",
            "service_account_id": "svc_01",
        },
        lambda *_: True,
    ),
    "entra": (
        {
            "grant_type": "client_credentials",
            "client_id": "client",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": JWT,
            "scope": "https://cognitiveservices.azure.com/.default",
        },
        lambda *_: True,
    ),
    "google": (
        {
            "grant_type": f"{_GRANT}token-exchange",
            "audience": "//iam.googleapis.com/projects/1/providers/p",
            "scope": _SCOPE,
            "requested_token_type": f"{_TOKEN}access_token",
            "subject_token": JWT,
            "subject_token_type": f"{_TOKEN}jwt",
        },
        # Google: "do not send the Authorization HTTP header".
        lambda _, headers: "authorization" not in headers,
    ),
    "azure-machine": (
        {
            "api-version": "2018-02-01",
            "resource": "https://cognitiveservices.azure.com/",
            "client_id": "identity",
        },
        lambda method, headers: method == "GET" and headers.get("metadata") == "true",
    ),
    "google-machine": (
        {"scopes": _SCOPE},
        lambda method, headers: method == "GET" and headers.get("metadata-flavor") == "Google",
    ),
}
"""The fields of each request, an empty name for JSON, and what its method and headers must be."""


@contextlib.contextmanager
def vendors(certificate: tuple[Path, Path]) -> Iterator[Vendors]:
    """Serve them at https://127.0.0.1 until the block ends.

    Args:
        certificate: PEM files of the chain and its key, valid for 127.0.0.1.
    """
    running = Vendors()
    with served(running.app(), certificate=certificate) as port:
        running.url = f"https://127.0.0.1:{port}"
        yield running
