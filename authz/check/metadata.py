"""What is said of a request in texts, logs and metadata, without anything secret."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

import structlog

from authz.check import hints
from authz.check.ext_authz import METADATA_KEY_INDEX, METADATA_NAMELESS, Check
from authz.config.settings import Provider
from authz.core.identity import Identity
from authz.core.outcome import Allow, Deny
from authz.core.providers import API_PREFIXES
from authz.core.tokens import without_tokens
from authz.logs import LineLimit
from authz.printable import printable

_log = structlog.get_logger(__name__)

_PLACE_MAX = 200
_ID_MAX = 100
_METHOD_MAX = 32
_anonymous = LineLimit()
"""Of lines that callers without a valid token can cause."""


def request_id_of(check: Check) -> str:
    """Return the id that Envoy gave to a request."""
    return printable(check.header("x-request-id"), _ID_MAX)


def place_of(check: Check) -> str:
    """Return where a request goes, for texts and logs: a path, or the target of a CONNECT.

    It is without the query, and without what may be a token.
    """
    if check.method == "CONNECT":
        return _masked(check.header(":authority"))
    return _masked(check.path.partition("?")[0])


@lru_cache(maxsize=1024)
def _masked(place: str) -> str:
    if "%" in place:
        place = unquote(place, errors="replace")
    # Without spaces: in a line of text it is one word, behind which others follow.
    return printable(without_tokens(place).replace(" ", "%20"), _PLACE_MAX)


def label_of(check: Check) -> str:
    """Return ``METHOD /path`` for texts; nothing is decided on it."""
    return f"{printable(check.method, _METHOD_MAX)} {_short_path(place_of(check))}"


def advised_label(
    check: Check, provider: Provider | None, names: Iterable[str] = (), *, own_passes: bool = False
) -> str:
    """Return the label and what to do about a 404; for its text only.

    Args:
        provider: that the route leads to, if any.
        names: of all providers, where it leads to none.
        own_passes: whether the user's own credential is served.
    """
    path = check.path.partition("?")[0]
    if provider is None:
        advice = hints.unknown_provider(path, names)
    else:
        advice = hints.not_served(check.method, path, provider, own_passes=own_passes)
    label = label_of(check)
    return f"{label}. {advice}." if advice else label


def _short_path(path: str) -> str:
    """Return the path as Coder's texts have it: behind the API prefix."""
    for prefix in API_PREFIXES:
        if path.startswith(f"{prefix}/"):
            return path.removeprefix(prefix)
    return path


def name_of(identity: Identity) -> str:
    """Return who is counted and logged: the user, or the token where its user is not known.

    No user is called so: a name has no colon.
    """
    return identity.username or f"token:{identity.token_id}"


def allowed_metadata(allowed: Allow) -> dict[str, str]:
    """Return what the logs say of a request that passes."""
    metadata = {
        "decision": "allow",
        "user": name_of(allowed.identity),
        "user_id": allowed.identity.user_id,
        "token_id": allowed.identity.token_id,
        "token_name": allowed.identity.token_name,
    }
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


def refused_metadata(denied: Deny, provider: str | None) -> dict[str, str]:
    """Return what the logs say of a refusal."""
    metadata = {
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
    return metadata


def log_refusal(denied: Deny, provider: str | None, label: str, request_id: str) -> None:
    """Log a refusal with its true reason.

    Args:
        label: as ``label_of`` returns it.
    """
    more = {} if denied.identity else _anonymous.take()
    if more is None:
        return
    # A refusal is an everyday event; metrics tell when there are many.
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
    """Log that the identity source did not say whose token it is."""
    more = _anonymous.take()
    if more is not None:
        _log.error("identity source unavailable", why=why, request_id=request_id, **more)
