"""Fixtures that record the result of each client; ``AUTHZ_RECORD=1`` writes the data file."""

import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import authz.clients
from tests.e2e.proxy import pairs

_FILE = Path(authz.clients.__file__).parent / "tested.yaml"
_HEAD = """\
# What `make test-clients` installs of each client, and what came of it; written by
# `AUTHZ_RECORD=1 make test-clients`. Versions and `reasons` (for modes without lines) are ours.
"""


@pytest.fixture(scope="session")
def proxied(request: pytest.FixtureRequest) -> pairs.Proxied:
    """A pair with the proxy on, shared with other folders; its gateway serves base URLs."""
    ready: pairs.Proxied = pairs.shared(request, pairs.proxied)
    return ready


@pytest.fixture(scope="session")
def record() -> Iterator[Callable[[str, str, str, str], None]]:
    """A function that records a result, called with client, mode, provider and result."""
    results: dict[str, dict[str, dict[str, str]]] = {}

    def _record(client: str, mode: str, kind: str, result: str) -> None:
        results.setdefault(client, {}).setdefault(mode, {})[kind] = result

    yield _record
    if os.environ.get("AUTHZ_RECORD"):
        _write(results)


def _write(results: dict[str, dict[str, dict[str, str]]]) -> None:
    data: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    for client, modes in results.items():
        for mode, kinds in modes.items():
            data[client].setdefault("results", {}).setdefault(mode, {}).update(kinds)
        data[client]["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    _FILE.write_text(_HEAD + yaml.safe_dump(data, sort_keys=False, width=100))
