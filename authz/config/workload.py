"""Settings of provider credentials that authz gets for its own identity."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictStr, model_validator

from authz.config.fields import FilePath, Section, Url

if TYPE_CHECKING:
    from authz.workload.exchange import Exchange

_ID = re.compile(r"[A-Za-z0-9_.:/@-]{1,512}")
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PROVIDERS_OF_WORKLOAD = {
    "anthropic": ("anthropic",),
    "openai": ("openai",),
    "entra": ("azure", "openai-compat"),
    "azure-machine": ("azure", "openai-compat"),
    "google": ("gemini", "google", "openai-compat"),
    "google-machine": ("gemini", "google", "openai-compat"),
}
"""The types of providers that take the credential of each type of workload."""
_COGNITIVE = "https://cognitiveservices.azure.com"


def _id(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise ValueError("must be an id of letters, digits and _.:/@-")
    return text


Id = Annotated[StrictStr, AfterValidator(_id)]


class _Workload(Section):
    """The common part.

    Attributes:
        token_url: the token endpoint, if it is not the vendor's public one.
        ca_file: PEM file with a private CA of that endpoint.
    """

    token_url: Url | None = None
    ca_file: FilePath | None = None

    def _url(self, public: str) -> str:
        return public if self.token_url is None else str(self.token_url)


class _WithJwt(_Workload):
    token_file: Path

    @model_validator(mode="after")
    def _in_clear(self) -> Self:
        if self.token_url is not None and self.token_url.is_in_clear:
            raise ValueError("token_url: must begin with https://, because it gets the JWT")
        return self


class AnthropicWorkload(_WithJwt):
    """Anthropic's Workload Identity Federation, for type ``anthropic``.

    Attributes:
        type: ``anthropic``.
        token_file: the file with the JWT of this workload, which is read for each exchange.
        federation_rule_id: ``fdrl_…``.
        organization_id: the UUID of the organization.
        service_account_id: ``svac_…``.
        workspace_id: ``wrkspc_…`` or ``default``. Required if the rule is for several workspaces.
    """

    type: Literal["anthropic"]
    federation_rule_id: Id
    organization_id: Id
    service_account_id: Id
    workspace_id: Id | None = None

    def exchange(self, refresh: float, timeout: float) -> "Exchange":
        """Return the exchange that these settings describe."""
        # Imported late, as its HTTP client is slow to import and most gateways have no workload.
        from authz.workload import exchange

        return exchange.AnthropicExchange(
            refresh=refresh,
            timeout=timeout,
            ca_file=self.ca_file,
            url=self._url("https://api.anthropic.com/v1/oauth/token"),
            token_file=self.token_file,
            federation_rule_id=self.federation_rule_id,
            organization_id=self.organization_id,
            service_account_id=self.service_account_id,
            workspace_id=self.workspace_id,
        )


class OpenAiWorkload(_WithJwt):
    """OpenAI's workload identity federation, for type ``openai``.

    Attributes:
        type: ``openai``.
        token_file: the file with the JWT of this workload, which is read for each exchange.
        identity_provider_id: the id of the provider that the organization trusts.
        service_account_id: the service account to act as.
    """

    type: Literal["openai"]
    identity_provider_id: Id
    service_account_id: Id

    def exchange(self, refresh: float, timeout: float) -> "Exchange":
        """Return the exchange that these settings describe."""
        from authz.workload import exchange

        return exchange.OpenAiExchange(
            refresh=refresh,
            timeout=timeout,
            ca_file=self.ca_file,
            url=self._url("https://auth.openai.com/oauth/token"),
            token_file=self.token_file,
            identity_provider_id=self.identity_provider_id,
            service_account_id=self.service_account_id,
        )


class EntraWorkload(_WithJwt):
    """Microsoft Entra ID with a federated credential, for type ``azure``.

    Attributes:
        type: ``entra``.
        token_file: the file with the JWT of this workload, which is read for each exchange.
        tenant_id: the directory.
        client_id: the application.
        scope: the scope of the token.
    """

    type: Literal["entra"]
    tenant_id: Id
    client_id: Id
    scope: Id = f"{_COGNITIVE}/.default"

    def exchange(self, refresh: float, timeout: float) -> "Exchange":
        """Return the exchange that these settings describe."""
        from authz.workload import exchange

        tenant = f"https://login.microsoftonline.com/{self.tenant_id}"
        return exchange.EntraExchange(
            refresh=refresh,
            timeout=timeout,
            ca_file=self.ca_file,
            url=self._url(f"{tenant}/oauth2/v2.0/token"),
            token_file=self.token_file,
            client_id=self.client_id,
            scope=self.scope,
        )


class GoogleWorkload(_WithJwt):
    """Google's workload identity federation, for types ``gemini`` and ``google``.

    Attributes:
        type: ``google``.
        token_file: the file with the JWT of this workload, which is read for each exchange.
        audience: ``//iam.googleapis.com/projects/…/providers/…``.
        service_account: the e-mail address of a service account to act as. Unset means the
            federated identity itself.
        scope: the scope of the token.
        impersonation_url: the URL before the address of the service account.
    """

    type: Literal["google"]
    audience: Id
    service_account: Id | None = None
    scope: Id = _GOOGLE_SCOPE
    impersonation_url: Url | None = None

    @model_validator(mode="after")
    def _impersonation_in_clear(self) -> Self:
        if self.impersonation_url is not None and self.impersonation_url.is_in_clear:
            raise ValueError("impersonation_url: must begin with https://, as it gets a credential")
        return self

    def exchange(self, refresh: float, timeout: float) -> "Exchange":
        """Return the exchange that these settings describe."""
        from authz.workload import exchange

        public = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        given = self.impersonation_url
        return exchange.GoogleExchange(
            refresh=refresh,
            timeout=timeout,
            ca_file=self.ca_file,
            url=self._url("https://sts.googleapis.com/v1/token"),
            token_file=self.token_file,
            audience=self.audience,
            scope=self.scope,
            service_account=self.service_account,
            impersonation_url=public if given is None else f"{str(given).rstrip('/')}/",
        )


class AzureMachineWorkload(_Workload):
    """The managed identity of a virtual machine in Azure, for type ``azure``.

    Attributes:
        type: ``azure-machine``.
        client_id: of a user-assigned identity. Unset means that of the machine.
        resource: the service that the token is for.
    """

    type: Literal["azure-machine"]
    client_id: Id | None = None
    resource: Id = f"{_COGNITIVE}/"

    def exchange(self, refresh: float, timeout: float) -> "Exchange":
        """Return the exchange that these settings describe."""
        from authz.workload import exchange

        return exchange.AzureMachine(
            refresh=refresh,
            timeout=timeout,
            ca_file=self.ca_file,
            url=self._url("http://169.254.169.254/metadata/identity/oauth2/token"),
            resource=self.resource,
            client_id=self.client_id,
        )


class GoogleMachineWorkload(_Workload):
    """The service account of a machine or pod in Google Cloud, for ``gemini`` and ``google``.

    Attributes:
        type: ``google-machine``.
        scope: the scope of the token.
    """

    type: Literal["google-machine"]
    scope: Id = _GOOGLE_SCOPE

    def exchange(self, refresh: float, timeout: float) -> "Exchange":
        """Return the exchange that these settings describe."""
        from authz.workload import exchange

        server = "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token"
        return exchange.GoogleMachine(
            refresh=refresh,
            timeout=timeout,
            ca_file=self.ca_file,
            url=self._url(server),
            scope=self.scope,
        )


Workload = Annotated[
    AnthropicWorkload
    | OpenAiWorkload
    | EntraWorkload
    | GoogleWorkload
    | AzureMachineWorkload
    | GoogleMachineWorkload,
    Field(discriminator="type"),
]
"""The identity for which a provider gives a credential."""
