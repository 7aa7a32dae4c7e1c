"""Groups of a user: their names and rules, as the store keeps them beside each user."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from authz.core.rules import NO_RULES, NOTHING, TokenRules, rules_of
from authz.printable import printable


@dataclass(frozen=True, slots=True)
class Group:
    """A group of a user.

    Attributes:
        name: of the group, for people.
        rules: the limits of its members; ``NO_RULES`` for a group that limits nothing.
    """

    name: str
    rules: TokenRules = NO_RULES


_UNREADABLE = (Group("unreadable", NOTHING),)


@lru_cache(maxsize=4096)
def read_groups(text: str | None) -> tuple[Group, ...]:
    """Read the groups of a user from the text that the store keeps with the user.

    The text is a JSON list of objects with ``name`` and ``rules``; None means no groups. Groups
    that can't be read, such as those of a later version, allow nothing.
    """
    if text is None:
        return ()
    try:
        values: Any = json.loads(text)
        if not isinstance(values, list):
            return _UNREADABLE
        return tuple(
            Group(
                printable(_text(value["name"])),
                NO_RULES if value["rules"] is None else rules_of(value["rules"]),
            )
            for value in values
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return _UNREADABLE


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
