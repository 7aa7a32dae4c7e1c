"""authz.envoy.binary."""

import os
from pathlib import Path

import pytest

from authz.envoy.binary import find, validate
from authz.errors import StartError


def test_the_real_program_is_found() -> None:
    """The program is an executable, not the Python launcher, so signals reach Envoy itself."""
    path = find()
    assert os.access(path, os.X_OK)
    with path.open("rb") as program:
        assert program.read(4) == b"\x7fELF"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("static_resources: {listeners: [{nme: x}]}", "nme"),
        ("][", "envoy.yaml"),
        ("static_resources: {clusters: [{name: a, type: EDS}]}", "EDS"),
    ],
)
def test_what_envoy_refuses_is_one_line(text: str, part: str, tmp_path: Path) -> None:
    """The message begins with the file and ends with Envoy's own reason."""
    path = tmp_path / "envoy.yaml"
    path.write_text(text)
    with pytest.raises(StartError) as caught:
        validate(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert part in message
    # Not the place in Envoy's source.
    assert ".cc:" not in message
    assert "\n" not in message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A missing file is an error of Envoy that names the file."""
    with pytest.raises(StartError, match=r"missing\.yaml"):
        validate(tmp_path / "missing.yaml")
