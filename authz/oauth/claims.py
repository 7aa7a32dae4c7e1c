"""Compare the claims of a JWT with the patterns of a rule."""

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from authz.config.machines import flat_patterns


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A claim that does not match its pattern.

    Attributes:
        claim: its name, with dots between nested names.
        pattern: the pattern of the rule.
        found: the texts of the claim; empty if it is missing or has no text.
    """

    claim: str
    pattern: str
    found: tuple[str, ...]


def mismatches(patterns: Mapping[str, Any], claims: Mapping[str, Any]) -> list[Mismatch]:
    """Return the claims that do not match.

    Args:
        patterns: glob patterns by the name of the claim, nested as the claims are or with dots in
            the name. ``*`` stands for any text, ``?`` for one character, and every other character
            for itself. A pattern describes the whole text, with upper and lower case.
        claims: the verified claims. A list matches if one of its items does. A claim that is
            missing, null, a fraction or an object matches nothing, and neither does a name with
            dots that can be read in two ways.
    """
    found = []
    for path, pattern in flat_patterns(patterns):
        name = ".".join(path)
        readings = list(_readings(claims, name))
        texts = tuple(_texts(readings[0])) if len(readings) == 1 else ()
        # fnmatch also knows [sets], which names such as dependabot[bot] do not mean.
        literal = pattern.replace("[", "[[]")
        if not any(fnmatch.fnmatchcase(text, literal) for text in texts):
            found.append(Mismatch(name, pattern, texts))
    return found


def matches(patterns: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
    """Return whether every pattern matches; see ``mismatches``."""
    return not mismatches(patterns, claims)


def _readings(claims: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield each claim that a name with dots can mean: claims have dots in their names too."""
    if name in claims:
        yield claims[name]
    for end, letter in enumerate(name):
        inner = claims.get(name[:end]) if letter == "." else None
        if isinstance(inner, Mapping):
            yield from _readings(inner, name[end + 1 :])


def _texts(value: Any) -> Iterator[str]:
    """Yield the text of a claim, or those of a list."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool):
            # JSON's spelling, as in the documentation of issuers.
            yield str(one).lower()
        elif isinstance(one, str | int):
            yield str(one)
