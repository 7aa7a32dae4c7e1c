"""Describes a request in texts, logs and metadata, without secrets."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

import structlog

from authz.check import hints
from authz.check.ext_authz import (
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
from authz.core.tokens import without_tokens
from authz.logs import LineLimit
from authz.printable import printable

_log = structlog.get_logger(__name__)

_PLACE_MAX = 200
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
        place = unquote(place, errors="replace")
    # In a line of text the path must be one word, so it has no spaces.
    return printable(without_tokens(place).replace(" ", "%20"), _PLACE_MAX)


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


def name_of(identity: Identity) -> str:
    """Return the name for logs and metrics: the user, or the token where the user is unknown.

    A user's name has no colon, so it can't look like a token's.
    """
    return identity.username or f"token:{identity.token_id}"


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
        "user": name_of(allowed.identity),
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
    return metadata


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
            "user": name_of(denied.identity),
            "user_id": denied.identity.user_id,
            "token_name": denied.identity.token_name,
        }
        if groups := logged_groups(denied.identity):
            metadata[METADATA_GROUPS] = groups
    return metadata


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
        user=name_of(denied.identity) if denied.identity else None,
        request_id=request_id,
        **more,
    )


def log_unavailable(why: str, request_id: str | None) -> None:
    """Log that the identity source gave no answer."""
    more = _anonymous.take()
    if more is not None:
        _log.error("identity source unavailable", why=why, request_id=request_id, **more)
