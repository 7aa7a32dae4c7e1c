"""authz.up.handover: how long unreferenced clusters are kept."""

from authz.envoy.filters import CHECK_SECONDS
from authz.up.handover import BLIND_SECONDS, LINGER_SECONDS


def test_no_check_outlives_its_cluster() -> None:
    """A request may be checked for ``CHECK_SECONDS`` between getting its route and its cluster."""
    assert LINGER_SECONDS > CHECK_SECONDS
    assert BLIND_SECONDS > CHECK_SECONDS
