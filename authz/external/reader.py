"""Reads the checks of Envoys that authz does not configure.

Such a check has the client's headers in a map and says little about the route. The reader states
the facts that the project's own Envoy would have sent for the same request; everything after it is
the same for both. What it can't know for sure has no facts and is a 503.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from google.protobuf.message import DecodeError

from authz.check.ext_authz import (
    CONTEXT_ACTOR,
    CONTEXT_JOINED,
    CONTEXT_REMOVED,
    CONTEXT_WEBSOCKET,
    WEBSOCKET_REFUSED,
    BadCheck,
    Check,
    read_context,
    read_field,
)
from authz.check.route_facts import has_actor, removed_headers, route_facts
from authz.config.external_gateways import CONTEXT_ROUTES, Secrets
from authz.config.settings import Config
from authz.core.header_names import SESSION_HEADERS, TRACE_HEADERS, is_removed
from authz.external import paths
from authz.external.binding import Bindings, Destination
from authz.external.causes import Cause, CauseLog
from authz.pb import ext_authz_pb2
from authz.pb import external_check_pb2 as pb

Facts = tuple[bytes, ...]
"""Serialized ``context_extensions``."""

_REMEMBERED = 4096
_MAX_REMEMBERED = 1024
"""Characters of a path and of names together. Strangers may send more, which is not cached."""
_SCHEME = b"\n\7:scheme"
_EMPTY_VALUE = b"\x12\0"
_MAX_NAME = 127
"""The longest name whose length takes one byte on the wire."""
_REQUEST_ID = "x-request-id"
"""Stays in the request, because the gateway's access log reads it after authz's answer."""
_UPGRADE = "upgrade"
_FAIL_OPEN = "x-envoy-auth-failure-mode-allowed"


class ExternalReader:
    """Reads checks with one configuration; a reload creates a new reader.

    Args:
        config: with ``external_gateways``.
        secrets: of ``external_gateways``.
        log: takes the causes for which a check is refused.
    """

    def __init__(self, config: Config, secrets: Secrets, log: CauseLog | None = None) -> None:
        self._config = config
        self._log = log or CauseLog()
        self._bindings = Bindings(config, secrets.secret, self._log)
        self._mark = secrets.mark
        self._further_headers = (
            *(TRACE_HEADERS if config.tracing is not None else ()),
            *(SESSION_HEADERS if config.usage.has_tags else ()),
        )
        self._names: dict[bytes, str] = {}
        # Bounded caches, since a client chooses paths and headers.
        self._is_own = lru_cache(maxsize=1024)(self._has_mark)
        self._facts = lru_cache(maxsize=_REMEMBERED)(self._find_facts)

    def read(self, message: bytes) -> Check:
        """Read a serialized ``CheckRequest``.

        Raises:
            BadCheck: the bytes are not a ``CheckRequest``.
            UnboundCheck: the check can't be decided.
        """
        attributes = _parse(message)
        http = attributes.request.http
        context = tuple(attributes.context_extensions)
        raw = http.header_map.headers
        if raw and self._is_own(context):
            return Check(http.method, http.path, raw, context)
        if raw and http.headers:
            raise BadCheck("two kinds of headers")
        # The order of a map is random, and the cache of decisions compares bytes.
        fields = raw or sorted(http.headers)
        names = self._removed_names(fields)
        method, path, host = http.method, http.path, http.host
        if not _has_pseudo_headers(_raw_entry if raw else _entry, method, path, host, fields):
            raise self._log.error(Cause.NO_PATH)
        if _FAIL_OPEN in names:
            raise self._log.error(Cause.FAIL_OPEN)
        # A fragment is never sent, so nothing is below such a path.
        place = path.partition("?")[0] if "#" not in path else ""
        size = len(place) + len(host) + len(method) + sum(map(len, names))
        find = self._facts if size <= _MAX_REMEMBERED else self._find_facts
        facts = find(
            context,
            attributes.route_metadata_context,
            host,
            method,
            place,
            names,
            bool(raw),
            _is_websocket(fields) if _UPGRADE in names else None,
        )
        return Check(method, path, fields, facts, external=True)

    def is_external(self, message: bytes) -> bool:
        """Return whether an Envoy asks that authz does not configure."""
        try:
            attributes = _parse(message)
            raw = attributes.request.http.header_map.headers
            return not raw or not self._is_own(tuple(attributes.context_extensions))
        except BadCheck:
            return True

    def _has_mark(self, context: Facts) -> bool:
        given = read_context(context).get(CONTEXT_ROUTES, "")
        return self._mark is not None and hmac.compare_digest(given.encode(), self._mark.encode())

    def _removed_names(self, fields: Sequence[bytes]) -> tuple[str, ...]:
        """Return the names of the headers that Envoy's own filters would remove, and of two more.

        Those two are ``upgrade`` and a header of an Envoy that fails open.
        """
        known = self._names
        found = [known.get(field[: field[1] + 2]) for field in fields]
        if None in found:
            found = [
                self._removed_name(field) if name is None else name
                for field, name in zip(fields, found, strict=True)
            ]
        return tuple([name for name in found if name])

    def _removed_name(self, field: bytes) -> str:
        name, _ = read_field(field)
        if name != name.lower():
            raise BadCheck("a header's name is not in lower case")
        matters = name in (_UPGRADE, _FAIL_OPEN) or (
            name != _REQUEST_ID and (is_removed(name) or name in self._further_headers)
        )
        removed = name if matters else ""
        if field[1] <= _MAX_NAME:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            self._names[field[: field[1] + 2]] = removed
        return removed

    def _find_facts(
        self,
        context: Facts,
        metadata: bytes,
        host: str,
        method: str,
        path: str,
        names: tuple[str, ...],
        raw: bool,
        is_websocket: bool | None,
    ) -> Facts:
        """Return the facts about a request.

        Args:
            context: the route's ``context_extensions``.
            metadata: the route's metadata, serialized.
            host: as the client sent it.
            method: as the client sent it.
            path: without the query.
            names: the headers to remove.
            raw: whether the headers are as the client sent them.
            is_websocket: whether the request upgrades to a WebSocket; None without an upgrade.
        """
        destination = self._bindings.find(read_context(context), metadata, host, path, raw=raw)
        facts = {CONTEXT_JOINED: "false" if raw else "true"}
        if destination is not None:
            facts |= self._facts_at(destination, method, names, is_websocket)
        return _serialized(facts)

    def _facts_at(
        self,
        destination: Destination,
        method: str,
        names: tuple[str, ...],
        is_websocket: bool | None,
    ) -> dict[str, str]:
        provider, rest = destination.provider, destination.rest
        path, refused = None, False
        if paths.is_safe(rest):
            if is_websocket is None:
                path = paths.listed(provider, method, rest)
            else:
                path = paths.listed_websocket(provider, method, rest) if is_websocket else None
                refused = path is None and paths.is_listed(provider, rest)
        facts = route_facts(provider, path)
        if refused:
            facts[CONTEXT_WEBSOCKET] = WEBSOCKET_REFUSED
        if path is not None:
            removed = {name for name in names if name != _UPGRADE}
            removed.update(removed_headers(provider, self._config, path))
            facts[CONTEXT_REMOVED] = " ".join(sorted(removed))
            if has_actor(self._config, path):
                facts[CONTEXT_ACTOR] = "true"
        return facts


def _parse(message: bytes) -> pb.AttributeContext:
    try:
        return pb.CheckRequest.FromString(message).attributes
    except DecodeError:
        raise BadCheck("not a CheckRequest") from None


def _has_pseudo_headers(
    entry: Callable[[str, str], bytes], method: str, path: str, host: str, fields: Sequence[bytes]
) -> bool:
    """Return whether the headers have the four that Envoy always has, with these values.

    An allow-list of headers leaves them out.
    """
    return (
        entry(":path", path) in fields
        and entry(":method", method) in fields
        and entry(":authority", host) in fields
        # This header has no field beside the headers, and a client of HTTP/2 may claim any scheme.
        and (
            entry(":scheme", "https") in fields
            or entry(":scheme", "http") in fields
            or any(field.startswith(_SCHEME) for field in fields)
        )
    )


def _entry(name: str, value: str) -> bytes:
    """Return a header as an entry of the map."""
    if len(value) > _MAX_REMEMBERED:
        return _new_entry(name, value)
    return _cached_entry(name, value)


def _new_entry(name: str, value: str) -> bytes:
    entry: bytes = pb.HeaderEntry(key=name, value=value).SerializeToString()
    # An entry of a map has an empty value, too, where any other message leaves it out.
    return entry if value else entry + _EMPTY_VALUE


_cached_entry = lru_cache(maxsize=_REMEMBERED)(_new_entry)


def _raw_entry(name: str, value: str) -> bytes:
    """Return a header as a raw one. Such a gateway is rare, so nothing is cached."""
    return ext_authz_pb2.HeaderValue(key=name, raw_value=value.encode()).SerializeToString()


def _is_websocket(fields: Sequence[bytes]) -> bool:
    values = [value for name, value in map(read_field, fields) if name == _UPGRADE]
    return [value.lower() for value in values] == [b"websocket"]


def _serialized(facts: Mapping[str, str]) -> Facts:
    return tuple(
        ext_authz_pb2.ContextExtension(key=key, value=value).SerializeToString()
        for key, value in facts.items()
    )
