"""What a URL's query holds that would go round every rule about headers."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

_SEPARATORS = re.compile(r"[?&;]")
# What a lenient server might overlook in a name, such as `key[]`, `$key` or a space.
_NOISE = re.compile(r"[^0-9a-z]")
_DECODED_TIMES = 3


@dataclass(frozen=True, slots=True)
class QueryNames:
    """Names of query parameters that a provider acts on before it looks at headers.

    Attributes:
        credentials: it would take a credential from them.
        accounts: they choose which account pays.
        overrides: they replace headers or the method.
    """

    credentials: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryCredentials:
    """What a query holds.

    Attributes:
        plain: names of credentials that Envoy finds and removes.
        hidden: whether a credential or an account stands there in a spelling that Envoy would not
            find, but perhaps the provider.
        accounts: names of parameters that choose an account, which Envoy finds.
        override: the name of a parameter that replaces headers or the method, if there is one.
    """

    plain: tuple[str, ...] = ()
    hidden: bool = False
    accounts: tuple[str, ...] = ()
    override: str | None = None


NO_NAMES = QueryNames()
NONE = QueryCredentials()


def find(path: str, names: QueryNames) -> QueryCredentials:
    """Look for parameters that a provider acts on.

    Args:
        path: with the query.
        names: of the parameters, as they are usually spelled.
    """
    query = path.partition("?")[2]
    removed = names.credentials + names.accounts
    if not query or not (removed or names.overrides):
        return NONE
    # As Envoy reads it: pairs between ampersands, names before the first equals sign, undecoded.
    pairs = [pair.partition("=") for pair in query.split("&")]
    literal = {name for name, _, _ in pairs}
    # What stands behind the name of an account is kept with the user's own credential.
    rest = "&".join(
        ("" if name in names.accounts else name) + equals + value
        for name, equals, value in pairs
        if name not in names.credentials
    )
    spelled = _spelled(rest, removed + names.overrides)
    override = next((name for name in names.overrides if _bare(name) in spelled), None)
    return QueryCredentials(
        plain=tuple(name for name in names.credentials if name in literal),
        hidden=not spelled.isdisjoint({_UNREADABLE, *map(_bare, removed)}),
        accounts=tuple(name for name in names.accounts if name in literal),
        override=override,
    )


_UNREADABLE = "?"
"""Stands for a query that is escaped too often to tell."""


def _spelled(query: str, names: tuple[str, ...]) -> set[str]:
    """Return which of the names stand in a query, however they are spelled."""
    wanted = {_bare(name) for name in names}
    found = set()
    # Decoded again and again: a separator may be escaped, and an escape, too.
    for _ in range(_DECODED_TIMES):
        found |= {_bare(pair.partition("=")[0]) for pair in _SEPARATORS.split(query)} & wanted
        decoded = unquote(query, errors="replace")
        if decoded == query:
            return found
        query = decoded
    return {*found, _UNREADABLE}


def _bare(name: str) -> str:
    return _NOISE.sub("", name.lower())
