"""Fixtures that every folder of tests uses."""

from collections.abc import Iterator

import pytest

from tests.support.pair import Pair, Provider, pair, stand_in


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """A stand-in provider for the whole session."""
    with stand_in() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(provider: Provider) -> Iterator[Pair]:
    """A pair with the default policy: BYOK is on."""
    with pair(provider) as running:
        running.create_user("alice")
        running.create_user("bob")
        yield running


@pytest.fixture(scope="session")
def gateway_without_byok(provider: Provider) -> Iterator[Pair]:
    """A pair with BYOK switched off."""
    with pair(provider, allow_byok=False) as running:
        running.create_user("alice")
        running.create_user("bob")
        yield running
