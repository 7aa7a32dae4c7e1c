"""The OpenAPI document, what schemathesis finds with it, and Envoy's routes to it."""

import asyncio
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from authz.identity.open import open_source, open_store
from authz.metrics import Metrics
from authz.web.api.app import create_api
from authz.web.api.call import Services
from authz.web.api.openapi import document
from authz.web.api.operations import OPERATIONS
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.sign_in import SignIn
from tests.unit.envoy.rendered import chosen, facts, rendered

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

_SETTINGS = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _document() -> dict[str, Any]:
    return document(OPERATIONS)


def test_every_operation_is_described() -> None:
    """Each operation has an id of its own, a summary, its parameters and its responses."""
    described = [operation for path in _document()["paths"].values() for operation in path.values()]
    assert len(described) == len(OPERATIONS)
    assert len({one["operationId"] for one in described}) == len(OPERATIONS)
    assert all(one["summary"].endswith(".") for one in described)
    assert all({"401", "503"} <= one["responses"].keys() for one in described if one["security"])


def test_envoy_has_a_route_to_every_operation() -> None:
    """Envoy routes each path of the document to authz without a check."""
    envoy = rendered()
    for operation in OPERATIONS:
        path = re.sub(r"{\w+}", "x", f"/api/v2{operation.path}")
        assert chosen(envoy, operation.method, path)["name"] == "token API", path
    assert chosen(envoy, "GET", "/api/v2/openapi.json")["name"] == "token API"


def test_the_rest_of_coders_api_is_authzs_to_refuse() -> None:
    """Unknown paths of the API go to authz without a check, except those below the gateway's path.

    A provider's route comes first, and no provider can have one of Coder's reserved names.
    """
    provider = {"name": "users", "type": "anthropic", "base_url": "https://api.anthropic.com"}
    document = rendered(providers=[provider])
    for path in (
        "/api/v2/",
        "/api/v2/templates",
        "/api/v2/users/",
        "/api/v2/users/me/keys/a/b/c",
        "/api/v2/ai-gateway/sessions",
        "/api/v2/ai-gateway/sessions/x",
        "/api/v2/aibridge/clients",
        "/api/v2/ai-gatewayx/users/v1/messages",
    ):
        for method in ("GET", "POST", "DELETE"):
            route = chosen(document, method, path)
            assert route["name"] == "token API", path
            assert route["route"]["cluster"] == "authz_http"
    for path in (
        "/api",
        "/api/v2",
        "/api/v2x",
        "/api/v1/users",
        "/api/v2/ai-gateway",
        "/api/v2/ai-gateway/nope/v1/messages",
        "/api/v2/aibridge/sessionsx",
    ):
        assert chosen(document, "POST", path)["name"] == "unknown", path
    assert facts(chosen(document, "POST", "/api/v2/ai-gateway/users/v1/messages"))["provider"]


async def test_the_document_is_served_to_everybody(tmp_path: Path) -> None:
    """The document can be read without signing in and without a store."""
    own_store = OwnStore(f"sqlite:///{tmp_path}/none.db", 365)
    transport = httpx.ASGITransport(create_api(Services(own_store, SignIn(), secure=False)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        assert (await client.get("/openapi.json")).json() == _document()
        answer = await client.get("/users/me")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert str(tmp_path) not in answer.text


async def test_where_coder_manages_users(tmp_path: Path) -> None:
    """Every route is a 404 that points to Coder, for any caller."""
    own_store = OwnStore("https://coder.example.com", 365)
    transport = httpx.ASGITransport(create_api(Services(own_store, SignIn(), secure=False)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        for operation in OPERATIONS:
            path = re.sub(r"{\w+}", "me", operation.path)
            answer = await client.request(operation.method, path)
            assert answer.status_code == 404
            assert answer.json() == {
                "message": "Users and tokens are managed by Coder.",
                "detail": "Manage them in Coder: https://coder.example.com",
            }
    await asyncio.wait_for(own_store.keep_audit_short(), 5)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """The application on a store with an owner, and the owner's token."""
    folder = tmp_path_factory.mktemp("schemathesis")
    url = f"sqlite:///{folder}/identity.db"

    async def fill() -> str:
        store = await open_store(url, create=True)
        user = await store.create_user("me-myself", role="owner")
        text, _ = await store.create_token(user, "main", timedelta(days=1))
        await store.close()
        return text

    async def make() -> Any:
        # Every call has an event loop of its own here, so each opens the store itself.
        return create_app(
            await open_source(url),
            Metrics(),
            api=create_api(Services(_Fresh(url, 365), SignIn(clock=lambda: 0.0), secure=False)),
        )

    text = asyncio.run(fill())
    yield asyncio.run(make()), text
    shutil.rmtree(folder, ignore_errors=True)


class _Fresh(OwnStore):
    """An own store that is opened again for each call."""

    async def get(self) -> Any:
        self._store, self._turn = None, asyncio.Lock()
        return await super().get()


def test_schemathesis_finds_nothing(app: tuple[Any, str]) -> None:
    """Generated calls, valid or not, get no 5xx and only responses that the document describes."""
    application, token = app
    schema = schemathesis.openapi.from_asgi("/api/v2/openapi.json", application)
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]

        @_SETTINGS
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(headers={"coder-session-token": token}, checks=_CHECKS)

        call()
    assert tried > 5 * len(OPERATIONS) / 2
