"""The settings of ``gateway.yaml``, as frozen models."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    Field,
    StrictBool,
    model_validator,
)

from authz.addresses import (
    Address,
    BaseUrl,
    TcpAddress,
    UnixAddress,
    parse_base_url,
)
from authz.config.budgets import Budgets, budget_problems
from authz.config.cors import Cors
from authz.config.envoy import EnvoySettings
from authz.config.export import Export
from authz.config.external_gateways import ExternalGateways
from authz.config.fields import (
    FilePath,
    IdentityUrl,
    ProviderName,
    Seconds,
    Section,
    Tcp,
    Tls,
    TypeName,
    Url,
)
from authz.config.key_reference import KeyOrNone, KeyReference
from authz.config.limits import Limits
from authz.config.model_rules import Models
from authz.config.notices import Notices
from authz.config.observability import Log, Tracing, Usage
from authz.config.outliers import OutlierDetection, Timeout
from authz.config.own_keys import OwnKeys
from authz.config.prices import Prices
from authz.config.providers import AccountHeaders, Aws, CredentialHeaders, ExtraPath
from authz.config.proxy import Proxy
from authz.config.revocation import Revocation
from authz.config.service import Service
from authz.config.shared_limits import problem_of
from authz.config.sign_in import SignIn
from authz.config.tokens import Tokens
from authz.config.workload import PROVIDERS_OF_WORKLOAD
from authz.core.providers import PROVIDER_TYPES, AllowedPath, ProviderType
from authz.database.url import CoderURL, parse_identity_url
from authz.keys.pool import MAX_KEYS


class Provider(Section):
    """A provider that serves requests.

    Attributes:
        name: the word in the gateway's URLs, ``/<name>/…``.
        type: the kind of API, which decides paths and credential headers (docs/providers.md).
        base_url: URL of the provider's API.
        public_url: URL that clients of the AI Gateway Proxy use, if it is not ``base_url``, for
            example behind a mirror.
        key: the central key, or ``none`` for a provider that takes no credential.
        keys: up to five central keys in place of ``key``. authz uses the first one that the
            provider does not refuse.
        retry_keys: whether a request that the provider refuses with 401, 429 or 529 is tried again
            at once with the next of ``keys`` (docs/retries.md).
        fallback: names of up to four providers of the same type that get a request which this one
            refuses with all of its keys, in order.
        aws: signatures for requests without a credential of the user's own.
        websocket: whether WebSockets are served. Unset means the default of the type.
        extra_paths: paths that are served in addition to those of the type.
        credential_headers: names of more headers that carry a credential to this provider.
        account_headers: headers that are added to requests with the central key, such as
            ``openai-organization``.
        ca_file: PEM file with a private CA of the provider. Unset means the system's trusted
            roots.
        first_byte_timeout: how long the first byte of a response may take, from the last byte of
            the request on (docs/slow-providers.md). Unset means ``idle_timeout``.
        idle_timeout: how long a request or response may be silent. Unset means
            ``envoy.stream_idle_timeout``, which it must not exceed.
        outlier_detection: when Envoy stops asking a provider that does not answer. Unset means
            never.
    """

    name: ProviderName
    type: TypeName
    base_url: Url
    public_url: Url | None = None
    key: KeyOrNone = None
    keys: tuple[KeyReference, ...] = ()
    retry_keys: StrictBool = True
    fallback: tuple[ProviderName, ...] = ()
    aws: Aws | None = None
    websocket: StrictBool | None = None
    extra_paths: tuple[ExtraPath, ...] = ()
    credential_headers: CredentialHeaders = ()
    account_headers: AccountHeaders = Field(default_factory=dict)
    ca_file: FilePath | None = None
    first_byte_timeout: Timeout | None = None
    idle_timeout: Timeout | None = None
    outlier_detection: OutlierDetection | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key_references and self.provider_type.central_header is None:
            name = "keys" if self.keys else "key"
            if self.provider_type.signed:
                raise ValueError(f"{name}: type {self.type} takes AWS credentials: set aws instead")
            raise ValueError(f"{name}: type {self.type} takes the user's own credential only")
        if self.key is not None and self.keys:
            raise ValueError("key and keys are mutually exclusive: remove one")
        if len(self.keys) > MAX_KEYS:
            raise ValueError(f"keys: must have at most {MAX_KEYS} entries")
        for index, reference in enumerate(self.keys):
            if reference in self.keys[:index]:
                raise ValueError(f"keys[{index}]: appears twice")
        return self

    @model_validator(mode="after")
    def _workload_of_type(self) -> Self:
        for where, reference in self.key_references:
            kind = reference.workload.type if reference.workload is not None else None
            if kind is not None and self.type not in PROVIDERS_OF_WORKLOAD[kind]:
                types = ", ".join(PROVIDERS_OF_WORKLOAD[kind])
                raise ValueError(f"{where}.workload: {kind} is for providers of type {types}")
        return self

    @model_validator(mode="after")
    def _trust(self) -> Self:
        if self.ca_file is not None and not self.base_url.tls:
            raise ValueError("ca_file: needs base_url to begin with https://")
        return self

    @model_validator(mode="after")
    def _websocket_of_type(self) -> Self:
        if self.websocket and not self.provider_type.websocket_paths:
            raise ValueError(f"websocket: type {self.type} has no WebSockets")
        return self

    @model_validator(mode="after")
    def _consistent_with_type(self) -> Self:
        kind = self.provider_type
        if self.aws is not None and not kind.signed:
            raise ValueError(f"aws: type {self.type} takes no AWS signature")
        if self.base_url.host.endswith(".api.aws") and self.base_url.path != "/":
            raise ValueError("base_url: must not have a path: the gateway adds it")
        if self.is_open and not kind.may_be_open:
            raise ValueError(f"key: 'none' needs type openai-compat; type {self.type} takes a key")
        return self

    @model_validator(mode="after")
    def _extra_paths_of_type(self) -> Self:
        kind = self.provider_type
        has_central = kind.central_header is not None or kind.signed
        for index, extra in enumerate(self.extra_paths):
            where = f"extra_paths[{index}]"
            if not extra.path.startswith(f"{kind.client_prefix}/"):
                raise ValueError(f"{where}.path: must begin with {kind.client_prefix}/")
            if extra.central_key and not has_central:
                raise ValueError(f"{where}.central_key: type {self.type} has no central key")
        return self

    @property
    def paths(self) -> tuple[AllowedPath, ...]:
        """The served paths; those of the type come first."""
        return self.provider_type.paths + tuple(extra.allowed for extra in self.extra_paths)

    @property
    def key_references(self) -> tuple[tuple[str, KeyReference], ...]:
        """The references to the central keys, each with its path in the file."""
        if self.key is not None:
            return () if self.key.is_none else (("key", self.key),)
        return tuple((f"keys[{index}]", reference) for index, reference in enumerate(self.keys))

    @property
    def is_open(self) -> bool:
        """True if the provider takes no credential."""
        return self.key is not None and self.key.is_none

    @property
    def signed(self) -> bool:
        """True if Envoy signs requests without a credential of the user's own."""
        return self.aws is not None

    @property
    def websockets(self) -> bool:
        """True if WebSockets are served."""
        has_any = bool(self.provider_type.websocket_paths)
        return has_any if self.websocket is None else self.websocket

    @property
    def native_url(self) -> BaseUrl:
        """The URL under which clients of the AI Gateway Proxy reach this provider."""
        return self.public_url or self.base_url

    @property
    def provider_type(self) -> ProviderType:
        """The type of the provider, with ``credential_headers`` added."""
        kind = PROVIDER_TYPES[self.type]
        if not self.credential_headers:
            return kind
        return replace(kind, own_headers=kind.own_headers + self.credential_headers)


def _provider(name: str, kind: str, base_url: str, variable: str | None = None) -> Provider:
    key = KeyReference(env=variable) if variable else None
    return Provider(name=name, type=kind, base_url=parse_base_url(base_url), key=key)


DEFAULT_PROVIDERS = (
    _provider("anthropic", "anthropic", "https://api.anthropic.com/", "ANTHROPIC_API_KEY"),
    _provider("openai", "openai", "https://api.openai.com/v1/", "OPENAI_API_KEY"),
    _provider("chatgpt", "openai", "https://chatgpt.com/backend-api/codex"),
    _provider("copilot", "copilot", "https://api.individual.githubcopilot.com"),
)


class Config(Section):
    """The configuration of the gateway.

    Attributes:
        listen: address of Envoy's listener for clients.
        tls: certificate of that listener. Unset means that it serves HTTP without TLS.
        identity: URL of the database or the Coder deployment that knows the tokens:
            ``sqlite:///path``, ``postgresql://…`` or ``https://…`` (docs/identity.md).
        identity_ca_file: PEM file with a private CA of the Coder deployment.
        identity_max_staleness: how long a positive answer of Coder's API may be used again. A
            deleted token can live that much longer.
        identity_stale_if_error: how long a token that was valid may pass while the identity
            source does not answer.
        allow_byok: whether users may send their own provider credentials.
        own_keys: provider keys that users store, encrypted. Unset means that users can't store any
            (docs/own-keys.md).
        audit_keep_days: how many days an entry of the audit log is kept.
        send_actor_headers: whether providers receive the id and name of the user in headers.
        providers: the providers, one for each name.
        proxy: the AI Gateway Proxy. Unset means that it is off.
        cors: pages that may call the gateway from a browser. Unset means that no page may.
        external_gateways: Envoys that authz does not configure. Unset means that there are none.
        revocation: what a revocation does to requests in progress (docs/open-streams.md).
        usage: records of requests and token counts.
        prices: prices of models. Unset means that costs are not computed (docs/prices.md).
        limits: request rates of users, and limits over all replicas.
        models: rules that say which models may be used. Unset means all.
        budgets: amounts that users, groups and tokens may spend. Unset means that there are none.
        notices: notices of budgets and of central keys. Unset means that there are none.
        sign_in: ways to get a token of authz's own store.
        tokens: limits and notices of the tokens in authz's own store (docs/tokens.md).
        log: formats and level of the logs.
        tracing: OpenTelemetry traces. Unset means that there are no traces.
        export: requests and changes as OpenTelemetry logs. Unset means that nothing is exported.
        authz: settings of the authz process.
        envoy: settings of the Envoy process.
    """

    listen: Tcp = TcpAddress("127.0.0.1", 8080)
    tls: Tls | None = None
    identity: IdentityUrl = "sqlite:///./.authz/identity.db"
    identity_ca_file: FilePath | None = None
    identity_max_staleness: Seconds = 0
    identity_stale_if_error: Seconds = 0
    allow_byok: StrictBool = True
    own_keys: OwnKeys | None = None
    audit_keep_days: Annotated[int, Field(strict=True, ge=1, le=36_500)] = 365
    send_actor_headers: StrictBool = False
    providers: tuple[Provider, ...] = DEFAULT_PROVIDERS
    proxy: Proxy | None = None
    cors: Cors | None = None
    external_gateways: ExternalGateways | None = None
    revocation: Revocation = Revocation()
    usage: Usage = Usage()
    prices: Prices | None = None
    limits: Limits = Limits()
    models: Models | None = None
    budgets: Budgets | None = None
    notices: Notices | None = None
    sign_in: SignIn = SignIn()
    tokens: Tokens = Tokens()
    log: Log = Log()
    tracing: Tracing | None = None
    export: Export | None = None
    authz: Service = Service()
    envoy: EnvoySettings = EnvoySettings()

    @property
    def state_folder(self) -> Path:
        """The folder for sockets and generated files."""
        if isinstance(self.authz.grpc, UnixAddress):
            return Path(self.authz.grpc.path).parent
        return Path(".authz")

    @property
    def provider_names(self) -> list[str]:
        """The names of the providers, in the order of the file."""
        return [provider.name for provider in self.providers]

    @property
    def claude_code_providers(self) -> list[Provider]:
        """The providers for a sign-in from Claude Code, that of the root first; empty if off."""
        settings = self.sign_in.claude_code
        if self.is_managed_by_coder or not settings.enabled:
            return []
        providers = [one for one in self.providers if one.type == "anthropic"]
        return sorted(providers, key=lambda one: one.name != settings.provider)

    @property
    def uses_assigned_rules(self) -> bool:
        """True if limits or rules for models that administrators set count."""
        has_models = self.models is not None and self.models.assigned
        return not self.is_managed_by_coder and (self.limits.shared is not None or has_models)

    @property
    def reads_requests(self) -> bool:
        """True if Envoy may have to read which models requests ask for.

        It does not depend on the providers, because a reload can't change Envoy's filters.
        """
        return self.models is not None or (self.budgets is not None and self.budgets.strict)

    def reads_requests_to(self, provider: Provider) -> bool:
        """Return whether Envoy reads which models requests to a provider ask for."""
        has_rules = self.models is not None and self.models.concern(provider.name)
        return has_rules or self.reserves_strictly_at(provider)

    def reserves_strictly_at(self, provider: Provider) -> bool:
        """Return whether budgets reserve the most that a request to a provider can cost."""
        is_paid = bool(provider.key_references) or provider.signed or provider.is_open
        return self.budgets is not None and self.budgets.strict and is_paid

    @property
    def is_public_over_tls(self) -> bool:
        """True if clients on other machines connect over TLS, also if it ends in front of Envoy."""
        url = self.sign_in.url
        return self.tls is not None or (url is not None and url.tls)

    @property
    def is_managed_by_coder(self) -> bool:
        """True if Coder's API knows the tokens."""
        return isinstance(parse_identity_url(self.identity), CoderURL)

    @property
    def intercepted_hosts(self) -> dict[str, Provider]:
        """The hosts whose TLS the proxy opens, with the provider; the first by name wins."""
        hosts: dict[str, Provider] = {}
        for provider in sorted(self.providers, key=lambda provider: provider.name):
            hosts.setdefault(provider.native_url.host, provider)
        return hosts

    @property
    def leaf_folder(self) -> Path:
        """The folder for the proxy's leaf certificates."""
        return self.state_folder / "leaves"

    @property
    def admin_address(self) -> Address:
        """The address of Envoy's admin interface. The port separates gateways in one folder."""
        socket = self.state_folder / f"admin-{self.listen.port}.sock"
        return self.envoy.admin or UnixAddress(str(socket))

    @model_validator(mode="after")
    def _identity_settings(self) -> Self:
        if isinstance(parse_identity_url(self.identity), CoderURL):
            if self.own_keys:
                raise ValueError(
                    "own_keys: needs a store of authz (identity: sqlite://… or postgresql://…), "
                    "because users of Coder store their keys in Coder"
                )
            if self.tokens != Tokens():
                raise ValueError(
                    "tokens: needs a store of authz's own (identity: sqlite://… or postgresql://…):"
                    " Coder manages the tokens of this gateway"
                )
            for key in ("machines", "oidc"):
                if getattr(self.sign_in, key):
                    raise ValueError(
                        f"sign_in.{key}: needs a store of authz's own (identity: sqlite://… or "
                        "postgresql://…): Coder manages the users and tokens of this gateway"
                    )
            return self
        for key in ("identity_ca_file", "identity_max_staleness"):
            if getattr(self, key):
                raise ValueError(f"{key}: works with Coder's API only (identity: https://…)")
        return self

    @model_validator(mode="after")
    def _budgets(self) -> Self:
        if self.budgets is not None:
            for problem in budget_problems(
                managed_by_coder=self.is_managed_by_coder,
                records_usage=self.usage.enabled,
                has_external_gateways=self.external_gateways is not None,
            ):
                raise ValueError(problem)
            if self.prices is None:
                # Budgets need prices, and the section without keys means those of the book.
                object.__setattr__(self, "prices", Prices())
        if self.notices is not None and self.is_managed_by_coder:
            raise ValueError(
                "notices: needs a store of authz's own (identity: sqlite://… or postgresql://…), "
                "in which notices wait for their receiver"
            )
        return self

    @model_validator(mode="after")
    def _claude_code(self) -> Self:
        settings = self.sign_in.claude_code
        if self.is_managed_by_coder:
            # The defaults may be written down, as `authz up` does for its children.
            if settings.enabled and settings != type(settings)():
                raise ValueError(
                    "sign_in.claude_code: needs a store of authz's own (identity: sqlite://… or "
                    "postgresql://…): Coder manages the tokens of this gateway"
                )
        elif settings.provider is not None:
            types = {one.name: one.type for one in self.providers if "name" in vars(one)}
            if types.get(settings.provider) != "anthropic":
                raise ValueError(
                    "sign_in.claude_code.provider: must be the name of a provider of type anthropic"
                )
        return self

    @model_validator(mode="after")
    def _shared_limits(self) -> Self:
        if self.limits.shared is not None and (
            problem := problem_of(
                self.limits.shared,
                identity=self.identity,
                providers={one.name for one in self.providers if "name" in vars(one)},
                workers=self.authz.workers or 1,
                authz_grpc=self.envoy.authz_grpc,
                has_usage=self.usage.enabled,
                has_external=self.external_gateways is not None,
            )
        ):
            raise ValueError(f"limits.shared: {problem}")
        return self

    @model_validator(mode="after")
    def _replicas(self) -> Self:
        for address in self.envoy.authz_grpc:
            if isinstance(self.authz.grpc, UnixAddress):
                raise ValueError("envoy.authz_grpc: needs authz.grpc to be host:port")
            if self.authz.in_clear(address):
                raise ValueError(
                    f"envoy.authz_grpc: credentials would cross the network to {address} in clear: "
                    "set authz.tls"
                )
        return self

    @model_validator(mode="after")
    def _unique_providers(self) -> Self:
        # A provider without a valid name can't have the name of another one.
        names = [one.name for one in self.providers if "name" in vars(one)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"providers: these names are used twice: {', '.join(twice)}")
        return self
