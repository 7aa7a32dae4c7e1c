"""``authz config check``, by its exit status."""

import subprocess
import sys
from pathlib import Path


def test_a_wrong_configuration_fails_the_command(tmp_path: Path) -> None:
    """It exits 1 and names the key, which is what a pipeline goes by; a right one exits 0."""
    file = tmp_path / "gateway.yaml"
    for text, status in (("bogus: 1\n", 1), ("allow_byok: true\n", 0)):
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "authz", "config", "check", "--config", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert ("bogus: unknown key" in done.stderr) == (status == 1)
