"""A good token of the pair with BYOK on."""

import pytest

from tests.support.pair import Pair


@pytest.fixture(scope="module")
def token(gateway: Pair) -> str:
    """A token of alice."""
    return gateway.create_token("alice")
