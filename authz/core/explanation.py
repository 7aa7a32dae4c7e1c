"""The answer to "why may alice use openai?", in sentences, from the rules of ``permissions``."""

from dataclasses import dataclass

from authz.core.groups import Group
from authz.core.permissions import Finding, Limiter, Use, permit
from authz.core.rules import NO_RULES, Mode, TokenRules

_GROUPS = 20
"""An answer names this many groups; a user may be in hundreds."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user, for a question.

    Attributes:
        problem: the reason why every request of the user is refused, such as ``is suspended``.
        groups: all groups of the user.
        stored_keys: the providers for which the user has stored a key that the gateway uses.
    """

    name: str
    problem: str | None = None
    groups: tuple[Group, ...] = ()
    stored_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the person.

    Attributes:
        problem: the reason why every request with the token is refused, such as ``has expired``.
    """

    name: str
    rules: TokenRules = NO_RULES
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """The settings for one provider.

    Attributes:
        provider: its name.
        is_known: whether the gateway has this provider.
        has_central: whether it has a credential of the company, or needs none.
        allow_byok: the setting.
    """

    provider: str
    is_known: bool
    has_central: bool
    allow_byok: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one mode.

    Attributes:
        reasons: sentences, each about one rule or setting.
    """

    mode: Mode
    allowed: bool
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the answer for the API and the command line."""
        return {"mode": str(self.mode), "allowed": self.allowed, "reasons": list(self.reasons)}


def explain(person: Person, token: Token | None, gateway: Gateway, mode: Mode) -> Answer:
    """Return whether a person may use a provider in a mode, and why.

    Args:
        person: asks the gateway.
        token: with this token; None for a token without rules.
        gateway: the provider.
        mode: the owner of the provider credential.
    """
    problems = [f"{person.name} {person.problem}." if person.problem else ""]
    if token is not None and token.problem:
        problems.append(f'The token "{token.name}" {token.problem}.')
    setting = _setting_problem(gateway, mode)
    has_stored = gateway.is_known and gateway.provider in person.stored_keys
    # Without an own credential in the request the gateway uses the stored key, and never the
    # company's key instead of it.
    if has_stored and mode is Mode.CENTRALIZED:
        problems.append(_stored(person, gateway))
    problems.append(setting or "")
    problems = [text for text in problems if text]
    rules = NO_RULES if token is None else token.rules
    permission = permit(rules, person.groups, Use(gateway.provider, mode))
    reasons = [*problems, *_of_rules(person, token, permission.findings)]
    if setting is None:
        reasons.append(_setting_reason(gateway, mode))
    if has_stored and mode is Mode.BYOK:
        reasons.append(f"{person.name} has stored a key for {gateway.provider}.")
    return Answer(mode, permission.allowed and not problems, tuple(reasons))


def _setting_problem(gateway: Gateway, mode: Mode) -> str | None:
    if not gateway.is_known:
        return f"The gateway has no provider {gateway.provider}."
    if mode is Mode.BYOK and not gateway.allow_byok:
        return "The gateway does not allow own credentials (allow_byok: false)."
    if mode is Mode.CENTRALIZED and not gateway.has_central:
        return f"The gateway has no central key for {gateway.provider}."
    return None


def _setting_reason(gateway: Gateway, mode: Mode) -> str:
    if mode is Mode.BYOK:
        return "The gateway allows own credentials (allow_byok: true)."
    return f"The gateway has a credential for {gateway.provider}."


def _stored(person: Person, gateway: Gateway) -> str:
    return (
        f"{person.name} has stored a key for {gateway.provider}, which the gateway uses instead of "
        f"the company's key: 'authz own-keys remove {gateway.provider} --user {person.name}' "
        "deletes it."
    )


def _of_rules(person: Person, token: Token | None, findings: tuple[Finding, ...]) -> list[str]:
    reasons = []
    of_groups = [finding for finding in findings if finding.limiter is Limiter.GROUP]
    for finding in findings:
        if finding.limiter is Limiter.TOKEN and token is not None:
            reasons.append(_sentence(f'The token "{token.name}"', finding))
    if token is not None and token.rules == NO_RULES:
        reasons.append(f'The token "{token.name}" has no rules.')
    reasons += [_sentence(f'The group "{one.name}"', one) for one in of_groups[:_GROUPS]]
    if len(of_groups) > _GROUPS:
        rest = of_groups[_GROUPS:]
        allowing = sum(one.allows for one in rest)
        reasons.append(f"Of {len(rest)} more groups with rules, {allowing} allow it.")
    if not of_groups:
        reasons.append(f"No group of {person.name} has rules.")
    elif len(of_groups) > 1:
        reasons.append("One group that allows it is enough.")
    return reasons


def _sentence(subject: str, finding: Finding) -> str:
    verb = "allows" if finding.allows else "does not allow"
    return f"{subject} {verb} it: it is limited to {finding.rules}."
