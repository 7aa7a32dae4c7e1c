"""Run pip-audit on a lock, and say which it is: no known weakness, some, or no data."""

import subprocess
import sys

UNREACHABLE = (
    "ConnectionError",
    "ServiceError",
    "Max retries",
    "Name or service",
    "connect",
    "not found on PyPI",
)


def main(program: str, lock: str) -> int:
    """Return 0 without a known weakness, 1 with one, and 2 if it can't be known."""
    command = [program, "--disable-pip", "--strict", "--progress-spinner=off", "-r", lock]
    for service in ("pypi", "osv"):
        done = subprocess.run(
            [*command, "-s", service], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 or done.stdout.strip():
            print(done.stdout + done.stderr, end="")
            return done.returncode
        if not any(word in done.stderr for word in UNREACHABLE):
            print(done.stderr, end="", file=sys.stderr)
            return 2
    print(
        "audit: neither PyPI's nor OSV's data on known weaknesses can be reached from here, so "
        f"{lock} was not checked. Run `make audit` where pypi.org or api.osv.dev answers.",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
