"""The clients: lines to paste for each mode, and what was run of them, read from YAML."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

MODES = ("centralized", "byok", "subscription", "proxy", "proxy-byok", "proxy-subscription")
"""The modes that have lines to paste, in the order in which they are shown."""
DENIED = "denied"
"""The last mode of the tests: the centralized lines with a token that was deleted."""
GREEN = "green"

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Tested:
    """What the tests run of a client, and how it went.

    Attributes:
        kind: ``npm`` or ``pip``.
        packages: package to the version that the tests install.
        date: of the last whole run.
        results: mode to provider to ``green`` or the reason why it is not.
        reasons: mode to the reason why the client can't do it at all.
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
        name: the word in ``authz client NAME`` and of its page.
        lines: mode to provider (``anthropic``, ``openai``, ``chatgpt``) to shell lines, in which
            ``%ANTHROPIC%`` and so on stand for the provider's URL at the gateway.
        notes: what else a person should know, one sentence or two each.
    """

    name: str
    title: str
    install: str
    lines: dict[str, dict[str, str]]
    notes: tuple[str, ...]
    tested: Tested

    @property
    def version(self) -> str:
        """The version of its first package that the tests run."""
        return next(iter(self.tested.packages.values()))


@cache
def clients() -> dict[str, Client]:
    """Return all clients by name, in the order of ``tested.yaml``."""
    tested: dict[str, Any] = yaml.safe_load((_FOLDER / "tested.yaml").read_text())
    return {name: _client(name, Tested(**values)) for name, values in tested.items()}


@cache
def curl() -> Client:
    """Return curl's lines, to try a gateway with; ``tests/e2e/test_demo.py`` pastes them."""
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
