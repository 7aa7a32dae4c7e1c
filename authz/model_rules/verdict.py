"""Decides whether rules let a person use a model, and says why not.

The rules for everyone, for the user and for the user's groups count together, and those for the
token apart: both have to let the model pass. In each of the two a ``deny`` wins, and where any rule
has an ``allow``, one of them has to match.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from authz.config.model_rules import ModelRule
from authz.core.identity import Identity

_LISTED = 10
"""The most globs that a message lists."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The rules for one request: those that are for its token, and all others."""

    of_person: tuple[ModelRule, ...]
    of_token: tuple[ModelRule, ...]

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.of_person or self.of_token)


def matching(rules: Iterable[ModelRule], identity: Identity) -> Matching:
    """Return those of the rules of a provider that are for the owner of a token.

    Where the identity source does not tell the user, the rules of all users and groups are for it.
    """
    of_person, of_token = [], []
    is_known = bool(identity.username)
    for rule in rules:
        if rule.tokens:
            if identity.token_id in rule.tokens:
                of_token.append(rule)
        elif (
            not (rule.users or rule.groups)
            or not is_known
            or identity.username in rule.users
            or not set(rule.groups).isdisjoint(identity.groups)
        ):
            of_person.append(rule)
    return Matching(tuple(of_person), tuple(of_token))


def objection(found: Matching, model: str, *, is_known: bool = True) -> str:
    """Return why a model may not be used; empty if it may be.

    Args:
        found: the rules for the request.
        model: its name.
        is_known: whether the user is known; if not, each of the person's rules has to allow it.
    """
    persons = [found.of_person] if is_known else [(rule,) for rule in found.of_person]
    for rules in (*persons, found.of_token):
        if denied := [glob for rule in rules for glob in rule.deny if _fits(glob, model)]:
            return f"a rule denies {denied[0]}"
        allowed = [glob for rule in rules for glob in rule.allow]
        if allowed and not any(_fits(glob, model) for glob in allowed):
            return f"allowed are only {_some(allowed)}"
    return ""


def _some(globs: Sequence[str]) -> str:
    globs = list(dict.fromkeys(globs))
    more = f" and {len(globs) - _LISTED} more" if len(globs) > _LISTED else ""
    return ", ".join(globs[:_LISTED]) + more


def _fits(glob: str, model: str) -> bool:
    # Some providers ignore the case of a name.
    return _pattern(glob.lower()).match(model.lower()) is not None


@lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    # `translate` writes atomic groups, so that no name takes long.
    return re.compile(translate(glob))
