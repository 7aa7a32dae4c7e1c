"""The programs that an engine needs, and how one is run."""

import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables": "iptables",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
}
"""Debian's package for each program that our own engine and its base images need."""


class Missing(Exception):  # noqa: N818 - reads as what it says
    """Something that container tests need is not on this machine."""


def run(*command: str, timeout: float = 600) -> str:
    """Return what a command prints; its error output is part of the error when it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{' '.join(command)} had no end after {timeout:g} s") from None
    if done.returncode:
        raise Missing(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def require(*programs: str) -> None:
    """Install the Debian packages of the programs that are missing, if that is possible."""
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    packages = sorted({PACKAGES[name] for name in missing})
    cure = f"install {', '.join(missing)} (Debian: apt-get install {' '.join(packages)})"
    if (
        os.geteuid() != 0
        or shutil.which("apt-get") is None
        or not Path("/etc/debian_version").exists()
    ):
        raise Missing(cure)
    print(f"containers: apt-get install {' '.join(packages)}", flush=True)
    # RUNLEVEL=1: the package's own service is not started; a run starts and ends its own engine.
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    run(*quiet, "apt-get", "update", "-qq")
    run(*quiet, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise Missing(f"{cure}: the package was installed and has no such program")
