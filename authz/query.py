"""Credentials in a URL's query, which would go round every rule about headers."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

_SEPARATORS = re.compile(r"[?&;]")
# What a lenient server might overlook in a name, such as `key[]`, `$key` or a space.
_NOISE = re.compile(r"[^0-9a-z]")
_DECODED_TIMES = 3


@dataclass(frozen=True, slots=True)
class QueryCredentials:
    """What a query holds.

    Attributes:
        plain: names of parameters that Envoy finds and removes.
        hidden: whether one stands there in a spelling that Envoy would not find, but perhaps the
            provider.
    """

    plain: tuple[str, ...] = ()
    hidden: bool = False


NONE = QueryCredentials()


def find(path: str, names: tuple[str, ...]) -> QueryCredentials:
    """Look for parameters that a provider would take a credential from.

    Args:
        path: with the query.
        names: of the parameters, in lower case.
    """
    query = path.partition("?")[2]
    if not query or not names:
        return NONE
    # As Envoy reads it: pairs between ampersands, names before the first equals sign, undecoded.
    literal = {pair.partition("=")[0] for pair in query.split("&")}
    plain = tuple(name for name in names if name in literal)
    rest = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in names)
    return QueryCredentials(plain, _hides(rest, names))


def _hides(query: str, names: tuple[str, ...]) -> bool:
    wanted = {_NOISE.sub("", name) for name in names}
    # Decoded again and again: a separator may be escaped, and an escape, too.
    for _ in range(_DECODED_TIMES):
        for pair in _SEPARATORS.split(query):
            if _NOISE.sub("", pair.partition("=")[0].lower()) in wanted:
                return True
        decoded = unquote(query, errors="replace")
        if decoded == query:
            return False
        query = decoded
    return True
