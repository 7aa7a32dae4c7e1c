"""Installs the clients into a cache outside the repository, each in its own folder."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from authz.clients.catalog import Client

CACHE = Path(os.environ.get("AUTHZ_CLIENTS_CACHE", Path.home() / ".cache" / "authz-clients"))
_SECONDS = 900


@dataclass(frozen=True)
class Installed:
    """An installed client.

    Attributes:
        programs: the folder of its programs, for PATH.
        modules: its ``node_modules``, which a script looks for beside itself.
    """

    programs: Path
    modules: Path | None = None


class NotInstalledError(Exception):
    """A client can't be installed; the text gives the reason."""


class NpmMissingError(NotInstalledError):
    """This machine has no npm, so clients from npm are left out."""


def install(client: Client, seconds: float = _SECONDS) -> Installed:
    """Return the client, installed unless this version is already in the cache.

    Args:
        client: which.
        seconds: that an installer may take.

    Raises:
        NpmMissingError: npm is not there.
        NotInstalledError: the installer failed.
    """
    tested = client.tested
    if tested.kind == "npm" and shutil.which("npm") is None:
        # Before a look into the cache: what is there would not run without Node.
        raise NpmMissingError("npm is not there")
    digest = hashlib.sha256(json.dumps([sys.version_info[:2], tested.packages]).encode())
    folder = CACHE / f"{client.name}-{digest.hexdigest()[:12]}"
    done = folder / ".done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if tested.kind == "npm":
            _npm(folder, tested.packages, seconds)
        else:
            _pip(folder, tested.packages, seconds)
        done.touch()
    if tested.kind == "npm":
        modules = folder / "node_modules"
        return Installed(modules / ".bin", modules)
    return Installed(folder / "bin")


def _npm(folder: Path, packages: dict[str, str], seconds: float) -> None:
    named = [f"{name}@{version}" for name, version in packages.items()]
    options = ["--no-audit", "--no-fund", "--loglevel=error"]
    _run(["npm", "install", "--prefix", str(folder), *options, *named], seconds)


def _pip(folder: Path, packages: dict[str, str], seconds: float) -> None:
    _run([sys.executable, "-m", "venv", str(folder)], seconds)
    named = [f"{name}=={version}" for name, version in packages.items()]
    options = ["--quiet", "--disable-pip-version-check"]
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", *options, *named], seconds)


def _run(command: list[str], seconds: float) -> None:
    what = " ".join(command[:3])
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{what} took more than {seconds:.0f} s") from None
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise NotInstalledError(f"{what} failed: {lines[-1] if lines else ''}")
