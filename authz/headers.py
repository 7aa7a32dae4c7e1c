"""Reading credentials out of a request's headers, once, into typed values.

``CREDENTIAL_HEADERS`` is the one list of headers that may carry a credential. It serves reading,
the check for duplicates and odd bytes, and removal, so that no header can be read in one place and
forgotten in another.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from authz.secret import Secret
from authz.tokens import has_token_shape

GOVERNANCE = "x-coder-ai-governance-token"
AUTHORIZATION = "authorization"
X_API_KEY = "x-api-key"
API_KEY = "api-key"
"""Azure's."""
X_GOOG_API_KEY = "x-goog-api-key"
"""Gemini's."""

CREDENTIAL_HEADERS = (
    GOVERNANCE,
    AUTHORIZATION,
    X_API_KEY,
    API_KEY,
    X_GOOG_API_KEY,
    "x-auth-token",
    "x-amz-security-token",
    "coder-session-token",
    "proxy-authorization",
)

_CREDENTIAL_HEADERS = frozenset(CREDENTIAL_HEADERS)
_TOKEN_INSIDE = re.compile(rb"(?<![0-9A-Za-z])[0-9A-Za-z]{10}-[0-9A-Za-z]{22}(?![0-9A-Za-z])")
# A space separates a scheme from its credential; every other byte has to be visible. A tab, which
# RFC 9110 5.5 lets a value have, is a space to one reader and a part of the key to another.
_CLEAN = re.compile(rb"[\x20-\x7e]*")
_SUBPROTOCOL = "sec-websocket-protocol"
_KEY_IN_SUBPROTOCOL = b"openai-insecure-api-key"


class BadHeader(ValueError):  # noqa: N818 - it is named for what it is about
    """A credential header that can't be read in one way only.

    Args:
        header: its name.
        problem: what is wrong, without the value.
    """

    def __init__(self, header: str, problem: str) -> None:
        super().__init__(f"{header}: {problem}")
        self.header = header
        self.problem = problem


PEER_HEADER = "x-authz-peer"
"""Where Envoy tells authz's HTTP side who is connected; it overwrites what a client sent."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brings, before anything is decided. Blank values count as absent.

    Attributes:
        governance: ``X-Coder-AI-Governance-Token``.
        bearer: the second field of ``Authorization: Bearer``; any other scheme is no credential.
        api_key: ``X-Api-Key``.
        azure_key: ``Api-Key``.
        google_key: ``X-Goog-Api-Key``.
        stray: names of other headers (or ``:path``) in which a Coder token stands, whosesoever.
    """

    governance: Secret | None = None
    bearer: Secret | None = None
    api_key: Secret | None = None
    azure_key: Secret | None = None
    google_key: Secret | None = None
    stray: tuple[str, ...] = ()

    def named(self, header: str) -> Secret | None:
        """Return the credential that a provider would read from ``header``."""
        if header == AUTHORIZATION:
            return self.bearer
        if header == X_API_KEY:
            return self.api_key
        if header == API_KEY:
            return self.azure_key
        if header == X_GOOG_API_KEY:
            return self.google_key
        return None


def read(headers: Iterable[tuple[str, bytes]]) -> Credentials:
    """Read the credentials of a request (``coder-contract.md`` 2.3).

    Args:
        headers: lower-case names and raw values, in order, duplicates kept.

    Raises:
        BadHeader: a credential header appears twice or has a byte outside visible ASCII
            (``interface.md`` section 5), or a WebSocket brings a key as a subprotocol.
    """
    found: dict[str, bytes] = {}
    others: list[tuple[str, bytes]] = []
    for header in headers:
        name, value = header
        if name not in _CREDENTIAL_HEADERS:
            if name == _SUBPROTOCOL and _KEY_IN_SUBPROTOCOL in value.lower():
                # How browsers pass a key to OpenAI; it would reach the provider past every rule.
                raise BadHeader(name, "carries an API key, which belongs in Authorization")
            others.append(header)
            continue
        if name in found:
            raise BadHeader(name, "appears more than once")
        if _CLEAN.fullmatch(value) is None:
            what = "a tab" if b"\t" in value else "bytes outside visible ASCII"
            raise BadHeader(name, f"has {what}")
        found[name] = value
    authorization = found.get(AUTHORIZATION, b"")
    # Envoy joins repeated Authorization headers with a comma, which no Bearer token can hold.
    if b"," in authorization:
        raise BadHeader(AUTHORIZATION, "holds a comma, as it does when it is sent more than once")
    governance = _text(found.get(GOVERNANCE))
    bearer = _bearer(authorization)
    api_key = _text(found.get(X_API_KEY))
    azure_key = _text(found.get(API_KEY))
    google_key = _text(found.get(X_GOOG_API_KEY))
    values = (governance, bearer, api_key, azure_key, google_key)
    presented = [value.encode() for value in values if value and has_token_shape(value)]
    return Credentials(
        governance=Secret(governance) if governance else None,
        bearer=Secret(bearer) if bearer else None,
        api_key=Secret(api_key) if api_key else None,
        azure_key=Secret(azure_key) if azure_key else None,
        google_key=Secret(google_key) if google_key else None,
        stray=_holders(others, presented),
    )


# Wider than every shape of a Coder token that is looked for anywhere.
_LIKE_TOKEN = re.compile(rb"[^-]{10}-[^-]{22}")


def is_plain(name: str, value: bytes) -> bool:
    """Say whether ``read`` returns the same without this header, whatever the others are."""
    return (
        name not in _CREDENTIAL_HEADERS
        and name != _SUBPROTOCOL
        and _LIKE_TOKEN.search(value) is None
        and _LIKE_TOKEN.search(_decoded(name, value)) is None
    )


def _decoded(name: str, value: bytes) -> bytes:
    # Envoy decodes the path as far as it is safe, but not the query.
    return unquote_to_bytes(value) if name == ":path" and b"%" in value else value


def _holders(headers: list[tuple[str, bytes]], presented: list[bytes]) -> tuple[str, ...]:
    """Return the names of the headers in which a token of this request, or any other, stands."""

    def holds(value: bytes) -> bool:
        return bool(_TOKEN_INSIDE.search(value)) or any(token in value for token in presented)

    # Almost always there is none; one look at all values together is enough to know.
    together = b"\n".join([value for _, value in headers])
    if not holds(together) and (b"%" not in together or not holds(unquote_to_bytes(together))):
        return ()
    return tuple({name for name, value in headers if holds(_decoded(name, value))})


def _text(value: bytes | None) -> str | None:
    return value.decode("ascii").strip() if value else None


def _bearer(value: bytes) -> str | None:
    fields = value.decode("ascii").split()
    return fields[1] if len(fields) == 2 and fields[0].lower() == "bearer" else None
