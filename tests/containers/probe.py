"""Check that this machine's engine can run these tests: ``python -m tests.containers.probe``.

An engine in a sandbox may start and still have no network for its containers. CI prints that in a
line.
"""

import os
import sys
import time
import urllib.request
from contextlib import suppress

from tests.containers.programs import Missing, run
from tests.support.pair import free_port

_NAME = "authz-probe"
_SECONDS = 30
_ASK = "import urllib.request; urllib.request.urlopen('http://answer:9000', timeout=5)"
# The smallest package that the image locks.
_DOWNLOAD = "python -m venv /tmp/a && /tmp/a/bin/pip download --quiet --no-deps --dest /tmp six"


def main() -> int:
    """Return 1 if the tests could not run here, after a line that says what does not work."""
    image = os.environ.get("PYTHON_IMAGE") or "python:3.11.13-slim-bookworm"
    try:
        run("docker", "compose", "version", timeout=_SECONDS)
        run("docker", "network", "create", _NAME, timeout=_SECONDS)
        _try_network(image)
        run("docker", "run", "--rm", image, "sh", "-ec", _DOWNLOAD, timeout=4 * _SECONDS)
    except (Missing, OSError) as error:
        print(f"containers: the engine does not do what the tests need: {error}", file=sys.stderr)
        return 1
    finally:
        with suppress(Missing):
            run("docker", "rm", "--force", _NAME, timeout=_SECONDS)
            run("docker", "network", "rm", _NAME, timeout=_SECONDS)
    return 0


def _try_network(image: str) -> None:
    """Ask a container by its name from another one, and by its published port from here."""
    port = free_port()
    run(
        "docker", "run", "--detach", f"--name={_NAME}", f"--network={_NAME}",
        "--network-alias=answer", f"--publish=127.0.0.1:{port}:9000", "--read-only", "--init",
        image, "python", "-m", "http.server", "9000",
        timeout=_SECONDS,
    )  # fmt: skip
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    run("docker", "exec", _NAME, "true", timeout=_SECONDS)
    inside = ["docker", "run", "--rm", f"--network={_NAME}", "--cap-drop=ALL", image]
    run(*inside, "python", "-c", _ASK, timeout=_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
