"""Rules of a token or a group: they limit it to providers and modes."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

_PROVIDER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PROVIDER_LENGTH = 64
MAX_PROVIDERS = 64
"""The most providers that rules may list."""


class Mode(StrEnum):
    """The owner of the credential that reaches the provider: the company or the user."""

    CENTRALIZED = "centralized"
    BYOK = "byok"

    @property
    def text(self) -> str:
        """The mode in words for a person."""
        own = "your own provider credential" if self is Mode.BYOK else "the company's own key"
        return f"{own} ({self})"


MODES = {**{mode.value: mode for mode in Mode}, "central": Mode.CENTRALIZED}
"""The modes by their names; ``central`` is an earlier name."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The limits of a token, or of the members of a group.

    Attributes:
        providers: names in order; None allows every provider, an empty tuple allows none.
        modes: in order; None allows every mode.
    """

    providers: tuple[str, ...] | None = None
    modes: tuple[Mode, ...] | None = None

    def allow_provider(self, name: str) -> bool:
        """Return whether the rules allow a provider."""
        return self.providers is None or name in self.providers

    def allow_mode(self, mode: Mode) -> bool:
        """Return whether the rules allow a mode."""
        return self.modes is None or mode in self.modes

    def as_json(self) -> dict[str, list[str]]:
        """Return the limits as they are stored and shown."""
        limits = {"providers": self.providers, "modes": self.modes}
        return {name: list(values) for name, values in limits.items() if values is not None}

    def as_text(self) -> str | None:
        """Return the text to store; None for no rules."""
        return json.dumps(self.as_json()) if self != NO_RULES else None

    def __str__(self) -> str:
        """Return the rules for a person, such as ``anthropic, openai; centralized``."""
        limits = (limit for limit in (self.providers, self.modes) if limit is not None)
        return "; ".join(", ".join(limit) or "none" for limit in limits)


NO_RULES = TokenRules()
"""No limits: the rules of most groups, and of all of Coder's tokens."""

NOTHING = TokenRules(providers=(), modes=())
"""The rules in place of stored rules that can't be read: they allow nothing."""


def make_rules(
    providers: list[str] | tuple[str, ...] | None = None,
    modes: list[str] | tuple[str, ...] | None = None,
    known: Collection[str] | None = None,
) -> TokenRules:
    """Return the rules for a person's input.

    Args:
        providers: names; None or empty allows every provider.
        modes: ``centralized`` (or ``central``) and ``byok``; None or empty allows every mode.
        known: the configured providers, which must include each name; None accepts any name, since
            stored rules may outlive a provider.

    Raises:
        ValueError: the input is invalid. The message has one line and does not quote the input,
            since people paste tokens in wrong places.
    """
    if providers and len(providers) > MAX_PROVIDERS:
        raise ValueError(f"rules list at most {MAX_PROVIDERS} providers")
    for name in providers or ():
        if len(name) > _PROVIDER_LENGTH or _PROVIDER.fullmatch(name) is None:
            raise ValueError("a provider is named as in the URL, such as anthropic")
    if known is not None and not set(providers or ()) <= set(known):
        raise ValueError(f"no such provider: this gateway has {', '.join(sorted(known))}")
    if any(mode not in MODES for mode in modes or ()):
        raise ValueError("a mode is centralized or byok")
    return TokenRules(
        providers=tuple(sorted(set(providers))) if providers else None,
        modes=tuple(sorted({MODES[mode] for mode in modes})) if modes else None,
    )


@lru_cache(maxsize=1024)
def read_rules(text: str | None) -> TokenRules:
    """Read the output of ``as_text``.

    Rules that can't be read, such as those of a later version, allow nothing.
    """
    if text is None:
        return NO_RULES
    try:
        return rules_of(json.loads(text))
    except (ValueError, RecursionError):
        return NOTHING


def rules_of(values: Any) -> TokenRules:
    """Return the rules of a value of ``as_json``, parsed from JSON; ``NOTHING`` for another one."""
    if not isinstance(values, dict) or not values or values.keys() - {"providers", "modes"}:
        return NOTHING
    limits = [values.get(name) for name in ("providers", "modes")]
    for limit in limits:
        if limit is not None and not (
            isinstance(limit, list) and limit and all(isinstance(one, str) for one in limit)
        ):
            return NOTHING
    try:
        return make_rules(*limits)
    except ValueError:
        return NOTHING
