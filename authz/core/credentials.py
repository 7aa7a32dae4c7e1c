"""Reads the credentials out of a request's headers, once, into typed values."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from authz.core import tokens
from authz.core.header_names import (
    ACCOUNT_HEADERS,
    API_KEY,
    AUTHORIZATION,
    CREDENTIAL_HEADERS,
    GOVERNANCE,
    SUBPROTOCOL,
    X_API_KEY,
    X_GOOG_API_KEY,
)
from authz.core.tokens import has_token_shape
from authz.secret import Secret

_CREDENTIAL_HEADERS = frozenset(CREDENTIAL_HEADERS)
_ACCOUNT_HEADERS = frozenset(ACCOUNT_HEADERS)
_FIELDS = frozenset({GOVERNANCE, AUTHORIZATION, X_API_KEY, API_KEY, X_GOOG_API_KEY})
"""Headers with a field of their own in ``Credentials``."""
_TOKEN_INSIDE = re.compile(rb"(?<![0-9A-Za-z])[0-9A-Za-z]{10}-[0-9A-Za-z]{22}(?![0-9A-Za-z])")
# A space separates a scheme from its credential; every other byte must be visible. RFC 9110 5.5
# allows a tab in a value, which one reader takes for a space and another for a part of the key.
_CLEAN = re.compile(rb"[\x20-\x7e]*")
_KEY_IN_SUBPROTOCOL = "openai-insecure-api-key"
"""A browser can set no header of a handshake, so it passes a key to OpenAI as a subprotocol."""
_ACCOUNTS_IN_SUBPROTOCOL = ("openai-organization", "openai-project")
"""Subprotocols by which a browser chooses the account that pays."""
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_DECODED_TIMES = 3
_NO_NAMES: frozenset[str] = frozenset()


class BadHeader(ValueError):  # noqa: N818 - the name says the subject
    """A credential header with more than one possible reading.

    Args:
        header: its name.
        problem: the text about it, without the value.
    """

    def __init__(self, header: str, problem: str) -> None:
        super().__init__(f"{header}: {problem}")
        self.header = header
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a request. Blank values count as absent.

    Values are without a scheme ``Bearer``, in every header.

    Attributes:
        governance: ``X-Coder-AI-Governance-Token``.
        bearer: the second field of ``Authorization: Bearer``; other schemes are ignored.
        api_key: ``X-Api-Key``.
        azure_key: ``Api-Key``.
        google_key: ``X-Goog-Api-Key``.
        others: names and values of the other credential headers, in order of their names.
        accounts: names of the headers that choose an account of the provider.
        subprotocol_token: the Coder token in a WebSocket's subprotocols.
        subprotocols: the other subprotocols, for the provider; None to keep the header as it is.
        central_subprotocols: those of them that choose no account, for a request with the central
            key; None if none of them chooses one.
        token_headers: names of other headers (or ``:path``) that hold a Coder token.
    """

    governance: Secret | None = None
    bearer: Secret | None = None
    api_key: Secret | None = None
    azure_key: Secret | None = None
    google_key: Secret | None = None
    others: tuple[tuple[str, Secret], ...] = ()
    accounts: tuple[str, ...] = ()
    subprotocol_token: Secret | None = None
    subprotocols: str | None = None
    central_subprotocols: str | None = None
    token_headers: tuple[str, ...] = ()

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
        return next((value for name, value in self.others if name == header), None)


def read(
    headers: Iterable[tuple[str, bytes]],
    further: frozenset[str] = _NO_NAMES,
    *,
    joined: bool = False,
) -> Credentials:
    """Read the credentials of a request.

    Args:
        headers: lower-case names and raw values, in order, duplicates kept.
        further: names of credential headers beside ``CREDENTIAL_HEADERS``.
        joined: whether Envoy has joined duplicates with commas, and has written an exclamation mark
            for each byte that is not UTF-8.

    Raises:
        BadHeader: a credential header appears twice or has a byte outside visible ASCII, or a
            WebSocket's subprotocols hold an API key that is not a Coder token.
    """
    found: dict[str, bytes] = {}
    others: list[tuple[str, bytes]] = []
    offered: list[bytes] = []
    for header in headers:
        name, value = header
        if name == SUBPROTOCOL:
            offered.append(value)
            continue
        if name not in _CREDENTIAL_HEADERS and name not in further:
            others.append(header)
            continue
        if name in found:
            raise BadHeader(name, "appears more than once")
        _require_clean(name, value)
        if joined:
            _require_unjoined(name, value)
        found[name] = value
    authorization = found.get(AUTHORIZATION, b"")
    # Envoy joins repeated Authorization headers with a comma, which no Bearer token can hold.
    if b"," in authorization:
        raise BadHeader(AUTHORIZATION, "holds a comma, as it does when it is sent more than once")
    subprotocols, subprotocol_token = _read_subprotocols(b", ".join(offered))
    rest = b", ".join(offered) if subprotocols is None else subprotocols.encode()
    if offered:
        others.append((SUBPROTOCOL, rest))
    bearer = _bearer(authorization)
    texts = {name: _text(value) for name, value in found.items() if name != AUTHORIZATION}
    values = (bearer, *(texts.get(name) for name in _FIELDS))
    presented = [value.encode() for value in values if value and has_token_shape(value)]
    return Credentials(
        governance=_secret(texts.get(GOVERNANCE)),
        bearer=_secret(bearer),
        api_key=_secret(texts.get(X_API_KEY)),
        azure_key=_secret(texts.get(API_KEY)),
        google_key=_secret(texts.get(X_GOOG_API_KEY)),
        others=tuple(
            (name, Secret(text))
            for name, text in sorted(texts.items())
            if text and name not in _FIELDS
        ),
        accounts=tuple(sorted({name for name, _ in others if name in _ACCOUNT_HEADERS})),
        subprotocol_token=subprotocol_token,
        subprotocols=subprotocols,
        central_subprotocols=_without_accounts(rest),
        token_headers=_token_headers(others, presented),
    )


def _require_clean(name: str, value: bytes) -> None:
    if _CLEAN.fullmatch(value) is None:
        found = "a tab" if b"\t" in value else "bytes outside visible ASCII"
        raise BadHeader(name, f"has {found}")


def _require_unjoined(name: str, value: bytes) -> None:
    if b"," in value:
        raise BadHeader(name, "holds a comma, as it does when it is sent more than once")
    if b"!" in value:
        raise BadHeader(name, "holds an exclamation mark, as it does for a byte that is not UTF-8")


def _read_subprotocols(offered: bytes) -> tuple[str | None, Secret | None]:
    """Take the Coder token out of the subprotocols that a WebSocket offers."""
    if _KEY_IN_SUBPROTOCOL.encode() not in offered.lower():
        return None, None
    _require_clean(SUBPROTOCOL, offered)
    names = [name.strip() for name in offered.decode("ascii").split(",")]
    keys = [name for name in names if _KEY_IN_SUBPROTOCOL in name.lower()]
    if len(keys) > 1:
        raise BadHeader(SUBPROTOCOL, "carries an API key more than once")
    prefix, _, key = keys[0].partition(".")
    if prefix.lower() != _KEY_IN_SUBPROTOCOL or tokens.parse(key) is None:
        raise BadHeader(
            SUBPROTOCOL,
            "carries an API key that is no Coder token. Put the Coder token there, or send your "
            "own key in Authorization and the Coder token in X-Coder-AI-Governance-Token",
        )
    return ", ".join(name for name in names if name and name != keys[0]), Secret(key)


def _without_accounts(offered: bytes) -> str | None:
    """Return the subprotocols that choose no account, or None if none of them chooses one."""
    if not any(name.encode() in offered.lower() for name in _ACCOUNTS_IN_SUBPROTOCOL):
        return None
    _require_clean(SUBPROTOCOL, offered)
    names = [name.strip() for name in offered.decode("ascii").split(",")]
    return ", ".join(
        name
        for name in names
        if name and not any(account in name.lower() for account in _ACCOUNTS_IN_SUBPROTOCOL)
    )


# Wider than every other pattern of a Coder token here.
_LIKE_TOKEN = re.compile(rb"[^-]{10}-[^-]{22}")


def is_plain(name: str, value: bytes, further: frozenset[str] = _NO_NAMES) -> bool:
    """Return whether ``read`` ignores this header, whatever the other headers are."""
    return (
        name not in _CREDENTIAL_HEADERS
        and name not in _ACCOUNT_HEADERS
        and name not in further
        and name != SUBPROTOCOL
        and _LIKE_TOKEN.search(value) is None
        and _LIKE_TOKEN.search(_decodings(value)[-1]) is None
    )


def _decodings(value: bytes) -> list[bytes]:
    """Return a value as it is, then decoded once, twice, and so on while that changes it.

    Envoy decodes the path as far as that is safe, but neither the query nor any other header.
    """
    found = [value]
    # Each round ends at a text without an escape: an anonymous caller may send many per cent signs.
    while _ESCAPE.search(found[-1]) and len(found) <= _DECODED_TIMES:
        found.append(unquote_to_bytes(found[-1]))
    return found


def _token_headers(headers: list[tuple[str, bytes]], presented: list[bytes]) -> tuple[str, ...]:
    """Return the names of the headers that hold a Coder token, of this request or any other."""

    def holds(value: bytes) -> bool:
        return any(
            _TOKEN_INSIDE.search(text) or any(token in text for token in presented)
            for text in _decodings(value)
        )

    # Almost no request has one, and one search through all values together finds that out.
    if not holds(b"\n".join([value for _, value in headers])):
        return ()
    return tuple({name for name, value in headers if holds(value)})


def _text(value: bytes) -> str:
    text = value.decode("ascii").strip()
    scheme, _, rest = text.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else text


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None


def _bearer(value: bytes) -> str | None:
    fields = value.decode("ascii").split()
    return fields[1] if len(fields) == 2 and fields[0].lower() == "bearer" else None
