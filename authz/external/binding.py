"""Finds the provider that a route of another Envoy leads to."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from authz.check.ext_authz import (
    CONTEXT_BASE_URL,
    CONTEXT_CENTRAL_KEY,
    CONTEXT_KIND,
    CONTEXT_PROVIDER,
    CONTEXT_SUPPORTED,
    BadCheck,
)
from authz.config.external_gateways import is_prefix
from authz.config.settings import Config, Provider
from authz.external.causes import Cause, CauseLog
from authz.external.paths import below
from authz.pb import external_check_pb2 as pb
from authz.printable import printable
from authz.secret import Secret

CONTEXT_PATH = "path"
CONTEXT_SECRET = "secret"  # noqa: S105 - the name of a key
"""Keys of ``context_extensions`` beside ``provider``, for routes that name their provider."""

METADATA_NAMESPACE = "envoy-gateway"
"""Envoy Gateway's namespace of a route's metadata."""

_CLAIMS = {CONTEXT_SUPPORTED: "true", CONTEXT_CENTRAL_KEY: "true"}
"""Facts that authz finds out itself. Any other value would be a rule that authz does not follow."""
_PORT = re.compile(r"(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Destination:
    """A provider, and the client's path below the prefix of its route."""

    provider: Provider
    rest: str


@dataclass(frozen=True, slots=True)
class _Mounted:
    prefix: str
    provider: Provider


class Bindings:
    """The routes of one configuration that lead to providers.

    Args:
        config: with ``external_gateways``.
        secret: of routes that name their provider in ``context_extensions``; None if no route may.
        log: takes the causes.
    """

    def __init__(self, config: Config, secret: Secret | None, log: CauseLog) -> None:
        self._providers = {provider.name: provider for provider in config.providers}
        self._secret = secret
        self._log = log
        self._by_httproute: dict[str, list[_Mounted]] = {}
        self._by_host: dict[str, list[_Mounted]] = {}
        for route in config.external_gateways.routes if config.external_gateways else ():
            mounted = _Mounted(route.prefix, self._providers[route.provider])
            if route.httproute is not None:
                self._by_httproute.setdefault(route.httproute, []).append(mounted)
            elif route.host is not None:
                self._by_host.setdefault(route.host, []).append(mounted)

    def find(
        self, context: Mapping[str, str], metadata: bytes, host: str, path: str, *, raw: bool
    ) -> Destination | None:
        """Return the destination of a request.

        Args:
            context: the route's ``context_extensions``.
            metadata: the route's metadata, serialized.
            host: as the client sent it.
            path: without the query.
            raw: whether the check has raw headers, as those of the project's own Envoy.

        Returns:
            None if the route is bound, and the path is not below one of its prefixes.

        Raises:
            BadCheck: the metadata can't be read.
            UnboundCheck: the route can't be known for sure.
        """
        httproute = self._httproute(metadata)
        if raw and httproute is None and CONTEXT_SECRET not in context:
            raise self._log.error(Cause.NO_MARK)
        if CONTEXT_KIND in context or any(
            context.get(key, value) != value for key, value in _CLAIMS.items()
        ):
            raise self._log.error(Cause.CLAIM)
        if httproute is not None:
            mounts = self._by_httproute.get(httproute)
            if mounts is None:
                raise self._log.error(
                    Cause.UNKNOWN_HTTPROUTE, httproute=printable(httproute, 2 * 253)
                )
            if CONTEXT_SECRET in context:
                self._require_secret(context)
            return self._agreed(context, _first(mounts, path))
        if not context.keys().isdisjoint({CONTEXT_PROVIDER, CONTEXT_PATH, CONTEXT_SECRET}):
            self._require_secret(context)
            return self._agreed(context, _first([self._named(context)], path))
        # Only a gateway that says nothing about its routes is bound by its hosts.
        mounts = None if context else self._by_host.get(_bare(host))
        if mounts is None:
            raise self._log.error(Cause.NO_BINDING)
        return self._agreed(context, _first(mounts, path))

    def _httproute(self, metadata: bytes) -> str | None:
        """Return ``NAMESPACE/NAME`` of the route; None if Envoy Gateway says nothing about it."""
        if not metadata:
            return None
        try:
            namespaces = pb.Metadata.FromString(metadata).filter_metadata
        except DecodeError:
            raise BadCheck("not a route's metadata") from None
        # Reading a missing key of a protobuf map creates it, so we look first.
        if METADATA_NAMESPACE not in namespaces:
            return None
        found = _only_httproute(namespaces[METADATA_NAMESPACE])
        if found is None:
            raise self._log.error(Cause.BAD_METADATA)
        return found

    def _require_secret(self, context: Mapping[str, str]) -> None:
        given = context.get(CONTEXT_SECRET, "").encode()
        expected = None if self._secret is None else self._secret.reveal().encode()
        if expected is None or not hmac.compare_digest(given, expected):
            raise self._log.error(Cause.UNPROVEN)

    def _named(self, context: Mapping[str, str]) -> _Mounted:
        provider = self._providers.get(context.get(CONTEXT_PROVIDER, ""))
        path = context.get(CONTEXT_PATH, "")
        if provider is None or provider.provider_type.signed or not is_prefix(path):
            raise self._log.error(Cause.BAD_CONTEXT)
        return _Mounted(path.rstrip("/"), provider)

    def _agreed(
        self, context: Mapping[str, str], found: tuple[_Mounted, str] | None
    ) -> Destination | None:
        """Return the destination if everything that the context says about it is the same."""
        if found is None:
            return None
        mounted, rest = found
        said = {
            CONTEXT_PROVIDER: mounted.provider.name,
            CONTEXT_BASE_URL: str(mounted.provider.base_url),
            CONTEXT_PATH: mounted.prefix or "/",
        }
        if any(context.get(key, value) != value for key, value in said.items()):
            raise self._log.error(Cause.DISAGREEMENT)
        return Destination(mounted.provider, rest)


def _first(mounts: list[_Mounted], path: str) -> tuple[_Mounted, str] | None:
    for mounted in mounts:
        rest = below(path, mounted.prefix)
        if rest is not None:
            return mounted, rest
    return None


def _bare(host: str) -> str:
    """Return a host in lower case without its port; nothing else is taken for the same host."""
    if not host.isascii():
        return ""
    name = host.lower().partition(":")[0]
    return name if _PORT.fullmatch(host[len(name) :]) else ""


def _only_httproute(metadata: Struct) -> str | None:
    """Return ``NAMESPACE/NAME`` of the one HTTPRoute that the metadata name."""
    if "resources" not in metadata.fields:
        return None
    resources = metadata.fields["resources"].list_value.values
    if len(resources) != 1:
        return None
    fields = resources[0].struct_value.fields
    kind, namespace, name = (_text(fields, key) for key in ("kind", "namespace", "name"))
    if kind != "HTTPRoute" or not namespace or not name or "/" in namespace:
        return None
    return f"{namespace}/{name}"


def _text(fields: Mapping[str, Value], key: str) -> str:
    return fields[key].string_value if key in fields else ""
