"""authz.config.own_keys."""

import pytest
from pydantic import ValidationError

from authz.config.settings import Config

_KEY = {"env": "MASTER"}


def test_off_by_default() -> None:
    """Without the setting there are no stored keys."""
    assert Config().own_keys is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"own_keys": {}}, "Field required"),
        ({"own_keys": {"keys": []}}, "at least 1 item"),
        ({"own_keys": {"keys": [{"env": f"K{n}"} for n in range(6)]}}, "at most 5 items"),
        ({"own_keys": {"keys": [_KEY, _KEY]}}, r"keys\[1\]: appears twice"),
        ({"own_keys": {"keys": ["none"]}}, "own_keys.keys.0"),
        (
            {"own_keys": {"keys": [_KEY]}, "identity": "https://coder.example.com"},
            "own_keys: needs a store of authz",
        ),
    ],
)
def test_what_is_refused(values: dict[str, object], problem: str) -> None:
    """A setting that can't work is refused at the start."""
    with pytest.raises(ValidationError, match=problem):
        Config.model_validate(values)
