"""One assigned limit or rule for models."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from authz.config.model_rules import GLOB
from authz.config.shared_limits import MAX_REQUESTS, MAX_TOKENS
from authz.identity.owners import OwnerKind


class RuleKind(StrEnum):
    """The kinds of assigned rules."""

    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    CONCURRENT = "concurrent_requests"
    ALLOW = "allow_models"
    DENY = "deny_models"


LIMITS = (RuleKind.REQUESTS, RuleKind.TOKENS, RuleKind.CONCURRENT)
"""The kinds whose value is a number."""
MODELS = (RuleKind.ALLOW, RuleKind.DENY)
"""The kinds whose value is a list of globs."""

MAX_GLOBS = 100
_NUMBER = re.compile(r"[1-9][0-9]{0,12}", re.ASCII)
_MOST = {
    RuleKind.REQUESTS: MAX_REQUESTS,
    RuleKind.TOKENS: MAX_TOKENS,
    RuleKind.CONCURRENT: MAX_REQUESTS,
}

Value = int | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssignedRule:
    """A rule of an owner, who has at most one of each kind.

    Attributes:
        owner: the kind of the owner.
        owner_id: the UUID of a user or a group, or the token's 10 characters.
        name: the name of the owner, for people.
        kind: what the rule is about.
        value: a number for ``LIMITS``, names of models for ``MODELS``.
    """

    owner: OwnerKind
    owner_id: str
    name: str
    kind: RuleKind
    value: Value

    def as_json(self) -> dict[str, object]:
        """Return the rule for ``-o json``."""
        return {
            "owner": str(self.owner),
            "owner_id": self.owner_id,
            "name": self.name,
            "kind": str(self.kind),
            "value": self.value,
        }


def check_value(kind: RuleKind, value: Value) -> Value:
    """Return the value of a rule.

    Raises:
        ValueError: it is not possible; the message says what is.
    """
    if isinstance(value, int):
        if kind not in LIMITS:
            raise ValueError(f"{kind} needs names of models")
        if not 1 <= value <= _MOST[kind]:
            raise ValueError(f"{kind} must be a number from 1 to {_MOST[kind]}")
        return value
    if kind not in MODELS:
        raise ValueError(f"{kind} needs a number")
    found = tuple(dict.fromkeys(value))
    if not 1 <= len(found) <= MAX_GLOBS:
        raise ValueError(f"{kind} needs 1 to {MAX_GLOBS} names of models")
    for glob in found:
        if GLOB.fullmatch(glob) is None:
            raise ValueError(
                f"{kind} needs names of models, in which * stands for any text and ? for one"
                " character, such as claude-haiku-*"
            )
    return found


def parse_number(text: str) -> int:
    """Return a whole number greater than 0.

    Raises:
        ValueError: the text is not such a number.
    """
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("must be a whole number greater than 0")
    return int(text)


def write_value(value: Value) -> str:
    """Return the text that the table has."""
    return json.dumps(value if isinstance(value, int) else list(value))


def read_value(kind: RuleKind, text: str) -> Value:
    """Read ``write_value``.

    Raises:
        ValueError: the text is not that of a value.
    """
    found = json.loads(text)
    if isinstance(found, bool) or not isinstance(found, int | list):
        raise ValueError("not a value")
    if isinstance(found, list) and not all(isinstance(one, str) for one in found):
        raise ValueError("not names of models")
    return check_value(kind, found if isinstance(found, int) else tuple(found))


def words_of(value: Value) -> str:
    """Return a value for people."""
    return f"{value:,}" if isinstance(value, int) else _joined(value)


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names)
