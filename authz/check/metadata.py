"""Describes a request in texts, logs and metadata, without secrets."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from urllib.parse import unquote

import structlog

from authz.check import hints
from authz.check.ext_authz import (
    METADATA_FACTS,
    METADATA_FALLBACK_FACTS,
    METADATA_GROUPS,
    METADATA_KEY_INDEX,
    METADATA_NAMELESS,
    Check,
    MetadataValue,
)
from authz.config.settings import Provider
from authz.core.decision_types import Allow, Deny
from authz.core.identity import Identity
from authz.core.providers import API_PREFIXES
from authz.core.refusals import Reason
from authz.core.tokens import without_tokens
from authz.logs import LineLimit
from authz.printable import printable

FACTS = (
    *("decision", "reason", "user", "user_id", "token_id", "token_name", "provider", "mode"),
    METADATA_GROUPS,
)
"""The metadata of which ``METADATA_FACTS`` is the JSON list, in this order; null where absent."""

_log = structlog.get_logger(__name__)

_PLACE_MAX = 200
_DECODED_MAX = 4096
"""Decoding takes time, and no real path that has an escape is as long."""
_DECODED_TIMES = 8
_TOO_ESCAPED = "[escaped]"
"""Stands for a place that is escaped so often that it may hide a token."""
_ID_MAX = 100
_METHOD_MAX = 32
_GROUPS_MAX = 1000
"""The characters of all group names together; a user may be in hundreds of groups."""
_anonymous = LineLimit()
"""Limits the lines that callers without a valid token can cause."""


def request_id_of(check: Check) -> str:
    """Return Envoy's id of a request."""
    return printable(check.header("x-request-id"), _ID_MAX)


def place_of(check: Check) -> str:
    """Return the destination of a request, for texts and logs: a path, or a CONNECT's target.

    The result has no query, and everything in it that looks like a token is masked.
    """
    if check.method == "CONNECT":
        return _masked(check.header(":authority"))
    return _masked(check.path.partition("?")[0])


@lru_cache(maxsize=1024)
def _masked(place: str) -> str:
    if "%" in place:
        place = _decoded(place)
    # In a line of text the path must be one word, so it has no spaces.
    return printable(without_tokens(place).replace(" ", "%20"), _PLACE_MAX)


def _decoded(place: str) -> str:
    """Decode a place once, and further where that brings a token to light."""
    if len(place) > _DECODED_MAX:
        return _TOO_ESCAPED
    shown = deeper = unquote(place, errors="replace")
    for _ in range(_DECODED_TIMES):
        decoded = unquote(deeper, errors="replace")
        if decoded == deeper:
            return shown
        deeper = decoded
        if without_tokens(deeper) != deeper:
            shown = deeper
    return _TOO_ESCAPED


def label_of(check: Check) -> str:
    """Return ``METHOD /path`` for texts; it decides nothing."""
    return f"{printable(check.method, _METHOD_MAX)} {_short_path(place_of(check))}"


def advised_label(
    check: Check, provider: Provider | None, names: Iterable[str] = (), *, own_passes: bool = False
) -> str:
    """Return the label and advice for the text of a 404.

    Args:
        provider: of the route, if any.
        names: of all providers, for a route without a provider.
        own_passes: whether the path is served with the user's own credential.
    """
    path = check.path.partition("?")[0]
    if provider is None:
        advice = hints.unknown_provider(path, names)
    else:
        advice = hints.not_served(check.method, path, provider, own_passes=own_passes)
    label = label_of(check)
    return f"{label}. {advice}." if advice else label


def _short_path(path: str) -> str:
    """Return the path without the API prefix, as in Coder's texts."""
    for prefix in API_PREFIXES:
        if path.startswith(f"{prefix}/"):
            return path.removeprefix(prefix)
    return path


def logged_groups(identity: Identity) -> tuple[str, ...]:
    """Return the groups of a user for the logs: the first ones, if there are many."""
    names, length = [], 0
    for name in identity.groups:
        length += len(name)
        if length > _GROUPS_MAX:
            break
        names.append(name)
    return tuple(names)


def allowed_metadata(allowed: Allow) -> dict[str, MetadataValue]:
    """Return the metadata of an allowed request for the logs."""
    metadata: dict[str, MetadataValue] = {
        "decision": "allow",
        "user": allowed.identity.name,
        "user_id": allowed.identity.user_id,
        "token_id": allowed.identity.token_id,
        "token_name": allowed.identity.token_name,
    }
    if groups := logged_groups(allowed.identity):
        metadata[METADATA_GROUPS] = groups
    if allowed.provider and allowed.mode:
        metadata["provider"] = allowed.provider
        metadata["mode"] = allowed.mode
        metadata["credential_hint"] = allowed.hint
    if allowed.key_index is not None:
        metadata[METADATA_KEY_INDEX] = str(allowed.key_index)
    if not allowed.identity.username:
        metadata[METADATA_NAMELESS] = allowed.identity.token_id
    if allowed.identity.stale:
        metadata["identity_stale"] = "true"
    destinations = (one.provider for one in allowed.further if one.provider)
    fallbacks = dict.fromkeys(one.partition(" ")[0] for one in destinations)
    if fallbacks:
        facts = ((name, _facts({**metadata, "provider": name})) for name in fallbacks)
        return _with_facts(metadata) | {METADATA_FALLBACK_FACTS: tuple(chain.from_iterable(facts))}
    return _with_facts(metadata)


def refused_metadata(denied: Deny, provider: str | None) -> dict[str, MetadataValue]:
    """Return the metadata of a refusal for the logs."""
    metadata: dict[str, MetadataValue] = {
        "decision": "deny",
        "reason": denied.reason,
    }
    if provider:
        metadata["provider"] = provider
    if denied.token_id:
        metadata["token_id"] = denied.token_id
    if denied.identity:
        metadata |= {
            "user": denied.identity.name,
            "user_id": denied.identity.user_id,
            "token_name": denied.identity.token_name,
        }
        if groups := logged_groups(denied.identity):
            metadata[METADATA_GROUPS] = groups
    return _with_facts(metadata)


def _with_facts(metadata: Mapping[str, MetadataValue]) -> dict[str, MetadataValue]:
    return {**metadata, METADATA_FACTS: _facts(metadata)}


def _facts(metadata: Mapping[str, MetadataValue]) -> str:
    # In ASCII and without a line end, whatever the names are.
    return json.dumps([metadata.get(name) for name in FACTS], separators=(",", ":"))


def log_refusal(denied: Deny, provider: str | None, label: str, request_id: str) -> None:
    """Log a refusal with its true reason.

    Args:
        label: the result of ``label_of``.
    """
    more = {} if denied.identity else _anonymous.take()
    if more is None:
        return
    # A refusal is an everyday event, so the level is info; metrics show when there are many.
    _log.info(
        "request refused",
        reason=str(denied.reason),
        status=denied.status,
        provider=provider,
        request=label,
        token_id=denied.token_id,
        user=denied.identity.name if denied.identity else None,
        request_id=request_id,
        **more,
    )


def log_unreadable(why: str, denied: Deny, provider: str | None) -> None:
    """Log that a key which a user has stored can't be decrypted, if it would have been used."""
    if denied.reason is Reason.OWN_KEY_UNREADABLE:
        user = denied.identity.name if denied.identity else None
        _log.error(
            "stored key not used: check own_keys.keys", why=why, provider=provider, user=user
        )


def log_unavailable(why: str, request_id: str | None) -> None:
    """Log that the identity source gave no answer."""
    more = _anonymous.take()
    if more is not None:
        _log.error("identity source unavailable", why=why, request_id=request_id, **more)
