"""The clients: shell lines for each mode and test results, read from YAML."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

MODES = ("centralized", "byok", "subscription", "proxy", "proxy-byok", "proxy-subscription")
"""The modes that have shell lines, in display order."""
DENIED = "denied"
"""The last mode of the tests: the centralized lines with a deleted token."""
GREEN = "green"

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Tested:
    """The test results of a client.

    Attributes:
        kind: ``npm`` or ``pip``.
        packages: version that the tests install, by package.
        date: date of the last complete run.
        results: ``green`` or the problem, by mode and provider.
        reasons: the reason, for each mode that the client does not support.
    """

    kind: str
    packages: dict[str, str]
    date: str
    results: dict[str, dict[str, str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        name: the argument of ``authz client`` and the name of its page.
        lines: shell lines by mode and provider (``anthropic``, ``openai``, ``chatgpt``). In them
            ``%ANTHROPIC%`` and so on stand for the provider's URL at the gateway.
        notes: further facts about the client, one or two sentences each.
    """

    name: str
    title: str
    install: str
    lines: dict[str, dict[str, str]]
    notes: tuple[str, ...]
    tested: Tested

    @property
    def version(self) -> str:
        """The version of the first package that the tests install."""
        return next(iter(self.tested.packages.values()))


@cache
def clients() -> dict[str, Client]:
    """Return all clients by name, in the order of ``tested.yaml``."""
    tested: dict[str, Any] = yaml.safe_load((_FOLDER / "tested.yaml").read_text())
    return {name: _client(name, Tested(**values)) for name, values in tested.items()}


@cache
def curl() -> Client:
    """Return curl's lines for a first request; ``tests/e2e/test_demo.py`` runs them."""
    return _client("curl", Tested(kind="", packages={}, date=""), _FOLDER / "curl.yaml")


def _client(name: str, tested: Tested, file: Path | None = None) -> Client:
    values = yaml.safe_load((file or _FOLDER / "data" / f"{name}.yaml").read_text())
    return Client(
        name=name,
        title=values["title"],
        install=values["install"],
        lines=values["lines"],
        notes=tuple(values.get("notes", ())),
        tested=tested,
    )
