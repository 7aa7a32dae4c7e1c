"""The gateways under attack."""

from collections.abc import Iterator

import pytest

from tests.attack.target import Target
from tests.support.pair import Pair


@pytest.fixture(scope="session")
def target(gateway: Pair) -> Iterator[Target]:
    """The gateway with BYOK."""
    with Target(gateway) as running:
        yield running


@pytest.fixture(scope="session")
def target_without_byok(gateway_without_byok: Pair) -> Iterator[Target]:
    """The gateway without BYOK."""
    with Target(gateway_without_byok) as running:
        yield running
