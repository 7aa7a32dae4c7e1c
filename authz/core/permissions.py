"""The rules that apply to a person: those of the token and those of the groups, in one function.

A token's rules and the rules of the groups both have to allow a use. Of the groups, those with
rules count, and one that allows the use is enough. If no group has rules, only the token's count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from authz.core.groups import Group
from authz.core.rules import NO_RULES, Mode, TokenRules


class Limiter(StrEnum):
    """The owner of a set of rules."""

    TOKEN = "token"  # noqa: S105 - a word, no secret
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Use:
    """A use that rules allow or refuse.

    Attributes:
        provider: its name.
        mode: None while the mode is not known; rules that allow any mode then allow the use.
    """

    provider: str
    mode: Mode | None = None

    @property
    def text(self) -> str:
        """The use in words: its mode, or the provider while the mode is not known."""
        return f'provider "{self.provider}"' if self.mode is None else self.mode.text


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one set of rules to a use.

    Attributes:
        name: of the group; empty for the token.
        rules: the set.
        allows: whether it allows the use.
    """

    limiter: Limiter
    name: str
    rules: TokenRules
    allows: bool


@dataclass(frozen=True, slots=True)
class Permission:
    """The answer of all rules together.

    Attributes:
        refused_by: the limiter that refuses the use, the token's rules first; None if it is
            allowed.
        findings: of every set of rules that counts: the token's, then those of the groups.
    """

    refused_by: Limiter | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def allowed(self) -> bool:
        """Return whether the rules allow the use."""
        return self.refused_by is None


UNLIMITED = Permission()
"""The permission where no rules apply."""


def permit(token: TokenRules, groups: Sequence[Group], use: Use) -> Permission:
    """Return whether the rules of a token and of its owner's groups allow a use, and why.

    The result is never wider than the token's rules alone, and the order of the groups changes
    nothing but the order of the findings.

    Args:
        token: the rules of the token; ``NO_RULES`` for a session or a person without a token.
        groups: all groups of the owner, with or without rules.
        use: the provider and, once it is known, the mode.
    """
    limiting = [group for group in groups if group.rules != NO_RULES]
    if token == NO_RULES and not limiting:
        return UNLIMITED
    own = () if token == NO_RULES else (Finding(Limiter.TOKEN, "", token, _allows(token, use)),)
    of_groups = tuple(
        Finding(Limiter.GROUP, group.name, group.rules, _allows(group.rules, use))
        for group in limiting
    )
    refused_by = None
    if not all(finding.allows for finding in own):
        refused_by = Limiter.TOKEN
    elif of_groups and not any(finding.allows for finding in of_groups):
        refused_by = Limiter.GROUP
    return Permission(refused_by, (*own, *of_groups))


def _allows(rules: TokenRules, use: Use) -> bool:
    # A new kind of limit, such as models, needs a field of Use and a condition here.
    return rules.allow_provider(use.provider) and (use.mode is None or rules.allow_mode(use.mode))
