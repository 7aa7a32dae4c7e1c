"""authz.core.header_names: the headers that no provider gets."""

import pytest

from authz.core.header_names import REMOVED_HEADERS, REMOVED_PREFIXES, is_removed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in REMOVED_HEADERS),
        *((f"{prefix}x", True) for prefix in REMOVED_PREFIXES),
        *(("x_api_key", True), ("anthropic_version", True)),
        *(("anthropic-version", False), ("accept", False), ("user-agent", False)),
        *(("x-coder", False), ("xcookie", False), ("my-x-envoy-foo", False)),
    ],
)
def test_removed(name: str, expected: bool) -> None:
    """A header is removed by its name, its prefix, or an underscore."""
    assert is_removed(name) is expected
