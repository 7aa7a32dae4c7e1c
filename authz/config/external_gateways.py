"""Settings for Envoys that authz does not configure, such as Envoy Gateway and Istio."""

import hashlib
import hmac
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, StrictStr, model_validator

from authz.config.fields import ProviderName, Section, matching
from authz.config.key_reference import KeyReference, StoredSecret
from authz.errors import ConfigError
from authz.secret import Secret

MIN_SECRET_CHARACTERS = 32

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HTTPROUTE = re.compile(rf"{_LABEL}/{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_PATH = re.compile(r"/|(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")


def _httproute(text: str) -> str:
    if _HTTPROUTE.fullmatch(text) is None:
        raise ValueError("must be NAMESPACE/NAME of an HTTPRoute, such as ai/anthropic")
    return text


def _host(text: str) -> str:
    if _HOST.fullmatch(text) is None or len(text) > 253:
        raise ValueError(
            "must be a host in lower case without port and wildcard, such as llm.example.com"
        )
    return text


def is_prefix(text: str) -> bool:
    """Return whether a text can be the ``path`` of a route."""
    return _PATH.fullmatch(text) is not None


def _path(text: str) -> str:
    if not is_prefix(text):
        raise ValueError("must be a literal path without a slash at its end, such as /anthropic")
    return text


class ExternalRoute(Section):
    """A route of another Envoy that leads to a provider; set ``httproute`` or ``host``.

    Attributes:
        httproute: ``NAMESPACE/NAME`` of the HTTPRoute. Envoy Gateway sends it to authz if the
            SecurityPolicy sets ``includeRouteMetadata: true``.
        host: the host of requests, for gateways that do not send the name of the route, such as
            Istio. Anyone who may add a route for this host can get the central key.
        path: the part of the client's path that the route replaces by the path of the provider's
            API; ``/`` for a host that is the provider's alone.
        provider: the name of the provider.
    """

    httproute: (
        Annotated[StrictStr, AfterValidator(_httproute), matching(_HTTPROUTE, "ai/anthropic")]
        | None
    ) = None
    host: Annotated[StrictStr, AfterValidator(_host), matching(_HOST, "llm.example.com")] | None = (
        None
    )
    path: Annotated[StrictStr, AfterValidator(_path), matching(_PATH, "/anthropic")]
    provider: ProviderName

    @model_validator(mode="after")
    def _bound_once(self) -> Self:
        if self.httproute is None and self.host is None:
            raise ValueError(
                "the route is bound to nothing: set httproute (Envoy Gateway) or host (Istio)"
            )
        if self.httproute is not None and self.host is not None:
            raise ValueError("httproute and host are mutually exclusive: remove one")
        return self

    @property
    def prefix(self) -> str:
        """The part before the provider type's own paths; empty for ``/``."""
        return self.path.rstrip("/")


class ExternalGateways(Section):
    """Envoys that authz does not configure, such as Envoy Gateway and Istio; off by default.

    Attributes:
        routes: the routes of these Envoys that lead to providers.
        secret: a secret of at least 32 characters for routes that name their provider in
            ``context_extensions``: with the keys ``provider``, ``path`` and ``secret``.
        envoy_secret: another secret of at least 32 characters, from which ``authz envoy render``
            derives a mark for the routes of the project's own Envoy. Unset means that the own Envoy
            does not ask this authz, so every request has to fit ``routes`` or ``secret``.
    """

    routes: tuple[ExternalRoute, ...] = ()
    secret: StoredSecret | None = None
    envoy_secret: StoredSecret | None = None

    @model_validator(mode="after")
    def _some_route(self) -> Self:
        if not self.routes and self.secret is None:
            raise ValueError("routes: must not be empty, unless secret is set")
        return self

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for (first, one), (second, other) in itertools.combinations(enumerate(self.routes), 2):
            # A route with an invalid value has no such attribute, which skips this rule.
            if (one.httproute, one.host) != (other.httproute, other.host):
                continue
            if _is_below(one.prefix, other.prefix) or _is_below(other.prefix, one.prefix):
                raise ValueError(
                    f"routes[{second}].path: {other.path} overlaps {one.path} of routes[{first}] "
                    f"on {one.httproute or one.host}"
                )
        return self

    @property
    def references(self) -> Iterator[tuple[str, KeyReference]]:
        """The references to the secrets, each with its key."""
        for name in ("secret", "envoy_secret"):
            reference = vars(self).get(name)
            if reference is not None:
                yield name, reference


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


CONTEXT_ROUTES = "routes"
"""The key of the mark in the ``context_extensions`` of the project's own routes."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of ``external_gateways``.

    Attributes:
        secret: of routes that name their provider; None if no route may.
        mark: of the routes of the project's own Envoy, derived from ``envoy_secret``; None if that
            Envoy does not ask.
    """

    secret: Secret | None
    mark: str | None


def open_secrets(settings: ExternalGateways, environ: Mapping[str, str] = os.environ) -> Secrets:
    """Return the secrets.

    Raises:
        ConfigError: a secret can't be read or is too short.
    """
    return Secrets(_open("secret", settings.secret, environ), open_mark(settings, environ))


def open_mark(settings: ExternalGateways, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the mark alone, for Envoy's configuration; see ``Secrets.mark``.

    Raises:
        ConfigError: as in ``open_secrets``.
    """
    envoy_secret = _open("envoy_secret", settings.envoy_secret, environ)
    return None if envoy_secret is None else _mark(envoy_secret)


def _open(name: str, reference: KeyReference | None, environ: Mapping[str, str]) -> Secret | None:
    try:
        return None if reference is None else open_secret(reference, environ)
    except OSError as error:
        problem = f"{name}.file: {reference and reference.file}: {error.strerror}"
    except ValueError as error:
        problem = f"{name}: {error}"
    raise ConfigError([f"external_gateways.{problem}"])


def _mark(envoy_secret: Secret) -> str:
    key = envoy_secret.reveal().encode()
    return hmac.new(key, b"routes of the project's own Envoy", hashlib.sha256).hexdigest()


def open_secret(reference: KeyReference, environ: Mapping[str, str]) -> Secret:
    """Return a secret of ``external_gateways``.

    Raises:
        OSError: the file can't be read.
        ValueError: there is no secret, or it is too short.
    """
    secret = reference.open(environ).current()
    if secret is None:
        raise ValueError(f"environment variable {reference.env} is not set")
    if len(secret.reveal()) < MIN_SECRET_CHARACTERS:
        raise ValueError(
            f"must have at least {MIN_SECRET_CHARACTERS} characters: use the output of "
            "`openssl rand -hex 32`"
        )
    return secret
