"""Run a command with an engine, Compose and base images: ``python -m tests.containers COMMAND``."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tests.containers.bases import image_variables
from tests.containers.engine import engine
from tests.containers.programs import Missing

_COMPOSE = Path(sys.executable).with_name("docker-compose")


def main() -> int:
    """Run the command of the command line, and return its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with _configuration() as folder, engine() as address:
            os.environ |= {
                "DOCKER_HOST": address,
                "DOCKER_CONFIG": str(folder),
                # Its reaper is an image of a registry; the run itself ends what it started.
                "TESTCONTAINERS_RYUK_DISABLED": "true",
                "AUTHZ_CONTAINERS": "1",
            }
            os.environ |= image_variables()
            return _run(sys.argv[1:])
    except Missing as error:
        print(f"containers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


@contextlib.contextmanager
def _configuration() -> Iterator[Path]:
    """Yield a folder of docker's settings in which Compose is a plug-in of its command."""
    if not _COMPOSE.exists():
        raise Missing("Compose is not installed; run this by `make test-containers`")
    with tempfile.TemporaryDirectory(prefix="authz-docker-") as name:
        plugins = Path(name, "cli-plugins")
        plugins.mkdir()
        shutil.copy2(_COMPOSE, plugins / "docker-compose")
        yield Path(name)


def _run(command: list[str]) -> int:
    """Run a command to its end; a signal to this process ends the command first."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Ctrl-C on a terminal reached it, too, and it ends its containers.
            process.send_signal(signal.SIGINT)
            process.wait(90)
        if process.poll() is None:
            process.kill()
            process.wait()
        raise


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
