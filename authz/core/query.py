"""Finds parameters in a URL's query that would bypass the rules about headers."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

_SEPARATORS = re.compile(r"[?&;]")
# Characters that a lenient server might ignore in a name, such as `key[]`, `$key` or a space.
_NOISE = re.compile(r"[^0-9a-z]")
_DECODED_TIMES = 3


@dataclass(frozen=True, slots=True)
class QueryNames:
    """Names of query parameters that a provider reads before the headers.

    Attributes:
        credentials: parameters with a credential.
        accounts: parameters that choose the account that pays.
        overrides: parameters that replace headers or the method.
    """

    credentials: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryCredentials:
    """The parameters of a query that matter.

    Attributes:
        plain: names of credentials that Envoy can find and remove.
        hidden: whether there is a credential or an account in a spelling that Envoy would miss and
            the provider might read.
        accounts: names of parameters that choose an account and that Envoy can find.
        override: the name of a parameter that replaces headers or the method, if there is one.
    """

    plain: tuple[str, ...] = ()
    hidden: bool = False
    accounts: tuple[str, ...] = ()
    override: str | None = None


NO_NAMES = QueryNames()
NONE = QueryCredentials()


def find(path: str, names: QueryNames) -> QueryCredentials:
    """Find the parameters that a provider reads.

    Args:
        path: with the query.
        names: the parameters in their usual spelling.
    """
    query = path.partition("?")[2]
    removed = names.credentials + names.accounts
    if not query or not (removed or names.overrides):
        return NONE
    # Envoy splits at ampersands, takes the name before the first equals sign, and decodes nothing.
    pairs = [pair.partition("=") for pair in query.split("&")]
    literal = {name for name, _, _ in pairs}
    # A request with the user's own credential keeps the value of an account parameter.
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
"""Marks a query that is escaped too many times to decode."""


def _spelled(query: str, names: tuple[str, ...]) -> set[str]:
    """Return the names that are in a query in any spelling."""
    wanted = {_bare(name) for name in names}
    found = set()
    # We decode several times, since a separator may be escaped, and an escape, too.
    for _ in range(_DECODED_TIMES):
        found |= {_bare(pair.partition("=")[0]) for pair in _SEPARATORS.split(query)} & wanted
        decoded = unquote(query, errors="replace")
        if decoded == query:
            return found
        query = decoded
    return {*found, _UNREADABLE}


def _bare(name: str) -> str:
    return _NOISE.sub("", name.lower())
