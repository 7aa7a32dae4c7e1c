"""Exchange the identity of this workload for a provider's short-lived credential.

The identity is a JWT in a file, such as Kubernetes' projected service account token, or the machine
itself, whose metadata server gives the credential. Each class follows one vendor's documentation.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from authz.fetcher import Fetcher, IssuerUnavailable
from authz.keys.command import CommandError
from authz.printable import printable
from authz.secret import Secret

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_JWT_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential for a provider.

    Attributes:
        lifetime: seconds from now on.
    """

    text: Secret
    lifetime: float


@dataclass(frozen=True, slots=True)
class Exchange(ABC):
    """A way to get a credential. ``keys.exec_key`` asks for one again and again.

    Attributes:
        refresh: seconds from one credential to the next.
        timeout: seconds for one credential.
        ca_file: PEM file with a private CA of the token endpoint; None means the system's roots.
    """

    what: ClassVar[str] = "token exchange"

    refresh: float
    timeout: float
    ca_file: Path | None

    @property
    def fingerprint(self) -> str:
        """The identity of this exchange in the memory that workers share."""
        values = {**asdict(self), "refresh": None, "timeout": None}
        return json.dumps([type(self).__name__, values], default=str)

    def obtain(
        self, environ: Mapping[str, str], is_stopped: Callable[[], bool] = lambda: False
    ) -> bytes:
        """Return a credential. It blocks.

        Args:
            environ: the environment of authz, which an exchange does not use.
            is_stopped: whether authz stops, which a request in progress does not heed.

        Raises:
            CommandError: there is none, or it would end before the next one. The message has no
                secret.
        """
        if is_stopped():
            raise CommandError("authz stops")
        # In a thread of its own, because this one may have an event loop.
        with ThreadPoolExecutor(1, "token-exchange") as thread:
            credential = thread.submit(asyncio.run, self._credential()).result()
        if credential.lifetime < self.refresh:
            raise CommandError(
                f"the credential is valid for {credential.lifetime:.0f} s, which is shorter than"
                f" refresh ({self.refresh:g} s): set refresh to at most half of it"
            )
        return credential.text.reveal().encode()

    async def _credential(self) -> Credential:
        fetcher = Fetcher(self.ca_file)
        try:
            async with asyncio.timeout(self.timeout):
                return await self._ask(fetcher)
        except TimeoutError:
            raise CommandError(f"no credential within {self.timeout:g} s (timeout)") from None
        except IssuerUnavailable as error:
            raise CommandError(str(error)) from None
        finally:
            await fetcher.close()

    @abstractmethod
    async def _ask(self, fetcher: Fetcher) -> Credential:
        """Ask for a credential."""


@dataclass(frozen=True, slots=True)
class _WithJwt(Exchange):
    """An exchange of a JWT.

    Attributes:
        url: of the token endpoint.
        token_file: the file with the JWT, which is read for each exchange.
    """

    url: str
    token_file: Path

    def _jwt(self) -> str:
        try:
            with self.token_file.open("rb") as file:
                content = file.read(MAX_JWT_BYTES + 1)
        except OSError as error:
            raise CommandError(f"token_file: {self.token_file}: {error.strerror}") from None
        text = content.decode("ascii", "replace").strip()
        if len(content) > MAX_JWT_BYTES or text.count(".") != 2 or not text.isprintable():
            raise CommandError(f"token_file: {self.token_file}: holds no JWT")
        return text


@dataclass(frozen=True, slots=True)
class AnthropicExchange(_WithJwt):
    """Anthropic's Workload Identity Federation.

    Source: https://platform.claude.com/docs/manage-claude/wif-reference and Anthropic's SDKs, which
    send the ``anthropic-beta`` header.
    """

    federation_rule_id: str
    organization_id: str
    service_account_id: str
    workspace_id: str | None

    async def _ask(self, fetcher: Fetcher) -> Credential:
        values = {
            "grant_type": JWT_BEARER,
            "assertion": self._jwt(),
            "federation_rule_id": self.federation_rule_id,
            "organization_id": self.organization_id,
            "service_account_id": self.service_account_id,
        }
        if self.workspace_id is not None:
            values["workspace_id"] = self.workspace_id
        headers = {"anthropic-beta": "oauth-2025-04-20,oidc-federation-2026-04-01"}
        return _granted(await fetcher.post_json(self.url, values, headers))


@dataclass(frozen=True, slots=True)
class OpenAiExchange(_WithJwt):
    """OpenAI's workload identity federation.

    Source: https://developers.openai.com/api/reference/workload-identity-federation
    """

    identity_provider_id: str
    service_account_id: str

    async def _ask(self, fetcher: Fetcher) -> Credential:
        values = {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token_type": JWT,
            "subject_token": self._jwt(),
            "identity_provider_id": self.identity_provider_id,
            "service_account_id": self.service_account_id,
        }
        return _granted(await fetcher.post_json(self.url, values))


@dataclass(frozen=True, slots=True)
class EntraExchange(_WithJwt):
    """Microsoft Entra ID: client credentials with a federated credential.

    Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow,
    third case.
    """

    client_id: str
    scope: str

    async def _ask(self, fetcher: Fetcher) -> Credential:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._jwt(),
            "scope": self.scope,
        }
        return _granted(await fetcher.post(self.url, form))


@dataclass(frozen=True, slots=True)
class GoogleExchange(_WithJwt):
    """Google's Security Token Service, and the service account to act as, if there is one.

    Sources: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token and
    https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken

    Attributes:
        audience: the full name of the workload identity provider.
        service_account: its e-mail address; None uses the federated identity itself.
        impersonation_url: the URL before the service account's address.
    """

    audience: str
    scope: str
    service_account: str | None
    impersonation_url: str

    async def _ask(self, fetcher: Fetcher) -> Credential:
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "audience": self.audience,
            "scope": self.scope,
            "requested_token_type": ACCESS_TOKEN,
            "subject_token": self._jwt(),
            "subject_token_type": JWT,
        }
        federated = _granted(await fetcher.post(self.url, form))
        if self.service_account is None:
            return federated
        url = f"{self.impersonation_url}{quote(self.service_account)}:generateAccessToken"
        headers = {"Authorization": f"Bearer {federated.text.reveal()}"}
        answer = await fetcher.post_json(url, {"scope": [self.scope]}, headers)
        return _impersonated(answer)


@dataclass(frozen=True, slots=True)
class AzureMachine(Exchange):
    """The managed identity of a virtual machine in Azure.

    Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token

    Attributes:
        url: of the metadata server.
        client_id: of a user-assigned identity; None means that of the machine.
    """

    url: str
    resource: str
    client_id: str | None

    async def _ask(self, fetcher: Fetcher) -> Credential:
        query = {"api-version": "2018-02-01", "resource": self.resource}
        if self.client_id is not None:
            query["client_id"] = self.client_id
        return _granted(await fetcher.get(f"{self.url}?{urlencode(query)}", {"Metadata": "true"}))


@dataclass(frozen=True, slots=True)
class GoogleMachine(Exchange):
    """The service account of a machine or a pod in Google Cloud.

    Source: https://cloud.google.com/compute/docs/access/authenticate-workloads

    Attributes:
        url: of the metadata server.
    """

    url: str
    scope: str

    async def _ask(self, fetcher: Fetcher) -> Credential:
        url = f"{self.url}?{urlencode({'scopes': self.scope})}"
        return _granted(await fetcher.get(url, {"Metadata-Flavor": "Google"}))


def _granted(answer: Mapping[str, Any]) -> Credential:
    """Read the answer of a token endpoint (RFC 6749 section 5)."""
    if "access_token" not in answer:
        raise CommandError(f"the token endpoint refuses: {_why(answer)}")
    if str(answer.get("token_type", "Bearer")).lower() != "bearer":
        raise CommandError("the token endpoint gives a token that is no Bearer")
    return _credential(answer["access_token"], answer.get("expires_in"))


def _impersonated(answer: Mapping[str, Any]) -> Credential:
    if "accessToken" not in answer:
        raise CommandError(f"Google refuses to act as the service account: {_why(answer)}")
    try:
        end = datetime.fromisoformat(str(answer.get("expireTime")))
        lifetime = (end - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        raise CommandError("Google does not say when the credential ends") from None
    return _credential(answer["accessToken"], lifetime)


def _credential(text: object, lifetime: object) -> Credential:
    if not isinstance(text, str):
        raise CommandError("the token endpoint gives no text as the credential")
    try:
        # Azure's metadata server writes the number as a text.
        return Credential(Secret(text), float(lifetime))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise CommandError("the token endpoint does not say when the credential ends") from None


def _why(answer: Mapping[str, Any]) -> str:
    """Return the reason for a refusal: a code, and no description, which may quote the request."""
    error = answer.get("error")
    if isinstance(error, Mapping):
        error = error.get("status") or error.get("type") or error.get("code")
    return printable(str(error))[:100] if error else "it gives no reason"
