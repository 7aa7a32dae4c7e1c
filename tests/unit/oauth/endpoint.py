"""The token endpoint on a store, with rules for a repository and for pods."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from authz.config.machines import Machines
from authz.identity.open import open_store
from authz.identity.store import Store
from authz.oauth.issuers import InvalidJwt, Issuer
from authz.oauth.machines import TOKEN_EXCHANGE, MachineGrants
from authz.oauth.server_metadata import metadata_route
from authz.oauth.token_endpoint import TOKEN_PATH, token_route
from authz.secret import Secret
from authz.web.own_store import OwnStore
from tests.support.certificates import Authority
from tests.support.issuer import AUDIENCE, IssuerServer

JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
GITHUB: dict[str, Any] = {
    "sub": "repo:acme/app:ref:refs/heads/main",
    "repository": "acme/app",
    "repository_owner": "acme",
    "ref": "refs/heads/main",
    "workflow": "release",
    "runner_environment": "github-hosted",
    "jti": "4c1f",
}
KUBERNETES: dict[str, Any] = {
    "sub": "system:serviceaccount:ci:builder",
    "kubernetes.io": {
        "namespace": "ci",
        "pod": {"name": "builder-0", "uid": "9a1b"},
        "serviceaccount": {"name": "builder", "uid": "77c0"},
    },
}


@dataclass
class Endpoint:
    """The token endpoint on a store."""

    client: httpx.AsyncClient
    store: Store
    server: IssuerServer
    grants: MachineGrants

    async def post(self, **form: str) -> httpx.Response:
        """Send parameters to the endpoint."""
        return await self.client.post(TOKEN_PATH, data=form)

    async def exchange(self, jwt: str, **changed: str) -> httpx.Response:
        """Exchange a JWT as RFC 8693 says."""
        form = {"grant_type": TOKEN_EXCHANGE, "subject_token": jwt, "subject_token_type": JWT_TYPE}
        return await self.post(**{**form, **changed})


@contextlib.asynccontextmanager
async def running_endpoint(
    url: str, server: IssuerServer, authority: Authority, **issuer: Any
) -> AsyncIterator[Endpoint]:
    """Run the endpoint.

    Args:
        url: the store.
        server: the only issuer.
        authority: signed the issuer's certificate.
        issuer: further settings of the issuer.
    """
    rules: list[Mapping[str, Any]] = [
        {
            "name": "release",
            "issuer": server.url,
            "service_account": "ci",
            "claims": {"repository": "acme/*", "ref": "refs/heads/main"},
            "lifetime": "10m",
            "providers": ["openai"],
            "modes": ["centralized"],
        },
        {
            "name": "pods",
            "issuer": server.url,
            "service_account": "pods",
            "claims": {"kubernetes.io": {"namespace": "ci"}},
        },
    ]
    trusted = {
        "issuer": server.url,
        "audience": AUDIENCE,
        "ca_file": str(authority.ca_file),
        **issuer,
    }
    settings = Machines.model_validate_json(json.dumps({"issuers": [trusted], "rules": rules}))
    async with contextlib.AsyncExitStack() as stack:
        grants = MachineGrants(settings)
        stack.push_async_callback(grants.close)
        store = await open_store(url, create=True)
        stack.push_async_callback(store.close)
        await store.create_user("ci", service_account=True)
        own_store = OwnStore(url, 1)
        stack.push_async_callback(own_store.close)
        names = grants.grants
        app = Starlette(routes=[token_route(names, own_store), metadata_route(names)])
        transport = httpx.ASGITransport(app=app)
        client = httpx.AsyncClient(transport=transport, base_url="http://gateway.test")
        await stack.enter_async_context(client)
        yield Endpoint(client, store, server, grants)


async def refusal(issuer: Issuer, text: str) -> str:
    """Return the reason why a JWT is not valid."""
    with pytest.raises(InvalidJwt) as caught:
        await issuer.verify(Secret(text), AUDIENCE)
    return str(caught.value)
