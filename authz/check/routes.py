"""Reads Envoy's route of a request from its ``context_extensions``."""

from authz.check.ext_authz import (
    CONTEXT_ACTOR,
    CONTEXT_BASE_URL,
    CONTEXT_CENTRAL_KEY,
    CONTEXT_FALLBACKS,
    CONTEXT_JOINED,
    CONTEXT_KEYLESS,
    CONTEXT_KIND,
    CONTEXT_MODEL,
    CONTEXT_PROVIDER,
    CONTEXT_REMOVED,
    CONTEXT_RETRIES,
    CONTEXT_SUPPORTED,
    CONTEXT_WEBSOCKET,
    SUPPORTED_OWN,
    WEBSOCKET_REFUSED,
    Check,
)
from authz.check.metadata import advised_label
from authz.config.settings import Config, Provider
from authz.core import query
from authz.core.decision_types import Route, RouteKind
from authz.core.providers import ErrorShape

_KINDS = {kind.value: kind for kind in (RouteKind.CONNECT, RouteKind.AUTHZ)}


class UnknownRoute(LookupError):  # noqa: N818 - the name says the subject
    """Envoy's route names a provider that is not in authz's configuration."""


class Routes:
    """The routes to the providers of one configuration."""

    def __init__(self, config: Config) -> None:
        # The base URL is part of the key. A central key goes only to the base URL that authz's own
        # configuration names beside it, however old Envoy's configuration is.
        self._providers = {
            (provider.name, str(provider.base_url)): provider for provider in config.providers
        }
        self._names = tuple(provider.name for provider in config.providers)
        self._read = frozenset(
            one.name for one in config.providers if config.reads_requests_to(one)
        )

    def find(self, check: Check) -> Route:
        """Return the route of a request.

        Raises:
            BadCheck: the ``context_extensions`` can't be read.
            UnknownRoute: the configuration has no such provider with this base URL.
        """
        context = check.context
        provider = self._provider(check)
        if provider is None:
            kind = _KINDS.get(context.get(CONTEXT_KIND, ""), RouteKind.PROVIDER)
            label = advised_label(check, None, self._names)
            return Route(kind=kind, label=label, joined=context.get(CONTEXT_JOINED) == "true")
        supported = context.get(CONTEXT_SUPPORTED)
        is_listed, own_only = supported == "true", supported == SUPPORTED_OWN
        if (is_listed or own_only) and provider.name in self._read and CONTEXT_MODEL not in context:
            # An Envoy that does not read requests to this provider yet.
            raise UnknownRoute(f"the route to {provider.name!r} does not say where the model is")
        return Route(
            provider=provider.name,
            type=provider.provider_type,
            supported=is_listed or own_only,
            own_only=own_only,
            label="" if is_listed else advised_label(check, provider, own_passes=own_only),
            # A route without this entry is for the central key.
            central_key=context.get(CONTEXT_CENTRAL_KEY, "true") == "true",
            keyless=context.get(CONTEXT_KEYLESS) == "true",
            signed=provider.signed,
            open=provider.is_open,
            retries=context.get(CONTEXT_RETRIES) == "true",
            fallbacks=self._fallbacks(context.get(CONTEXT_FALLBACKS, "")),
            query=query.find(check.path, provider.provider_type.query),
            accounts=tuple(provider.account_headers.items()),
            joined=context.get(CONTEXT_JOINED) == "true",
            removed=tuple(context.get(CONTEXT_REMOVED, "").split()),
            websocket_refused=context.get(CONTEXT_WEBSOCKET) == WEBSOCKET_REFUSED,
            actor=context.get(CONTEXT_ACTOR) == "true",
        )

    def error_shape(self, check: Check) -> ErrorShape:
        """Return the JSON format of errors for a request.

        Raises:
            BadCheck, UnknownRoute: as ``find``.
        """
        provider = self._provider(check)
        return provider.provider_type.error_shape if provider else ErrorShape.ANY

    def _fallbacks(self, text: str) -> tuple[str, ...]:
        """Return those destinations that this configuration has with the same base URL."""
        words = text.split()
        pairs = zip(words[::2], words[1::2], strict=False)
        return tuple(" ".join(pair) for pair in pairs if pair in self._providers)

    def _provider(self, check: Check) -> Provider | None:
        name = check.context.get(CONTEXT_PROVIDER, "")
        if not name:
            return None
        provider = self._providers.get((name, check.context.get(CONTEXT_BASE_URL, "")))
        if provider is None:
            raise UnknownRoute(f"provider {name!r} with that base_url is not in gateway.yaml")
        return provider
