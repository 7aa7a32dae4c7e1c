"""Install what peers need below ``bench/out/``, in pinned versions, and use it again later.

No installation touches the system or the project's own environment, and none needs root.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.world import BenchError

OUT = Path(__file__).parent / "out"
_SECONDS = 600


def venv(name: str, requirements: Path) -> Path:
    """Make a Python environment and return its folder.

    Args:
        requirements: every package of it with its version, as ``pip freeze`` writes them.

    Raises:
        BenchError: a package can't be had.
    """

    def fill(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", folder])
        options = ["--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([folder / "bin" / "pip", "install", *options, "-r", requirements])

    return _once(name, f"{sys.version}\n{requirements.read_text()}", fill)


def npm(name: str, *packages: str) -> Path:
    """Install packages from npm, running none of its scripts, and return the folder.

    Raises:
        BenchError: there is no npm, or it does not have a package.
    """
    program = shutil.which("npm")
    if program is None or shutil.which("node") is None:
        raise BenchError("there is no Node.js here")

    def fill(folder: Path) -> None:
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        _run([program, "install", "--prefix", folder, *options, *packages])

    return _once(name, " ".join(packages), fill)


def go(name: str, source: Path) -> Path:
    """Build a Go program from its folder, with the modules of its ``go.sum``, and return it.

    Raises:
        BenchError: there is no Go, or a module can't be had.
    """
    program = shutil.which("go")
    if program is None:
        raise BenchError("there is no Go here")
    files = sorted(file for file in source.iterdir() if file.name.startswith(("go.", "main.")))

    def fill(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        settings = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
        _run([program, "build", *settings, "-o", name, "."], folder)

    return _once(name, "\n".join(file.read_text() for file in files), fill) / name


def debian(name: str, packages: Sequence[str]) -> Path:
    """Unpack packages of the Debian release that runs here, and return the folder.

    Raises:
        BenchError: this is no Debian, or it does not have a package.
    """
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        raise BenchError("this is no Debian, whose package it is")

    def fill(folder: Path) -> None:
        lists = folder / "apt"
        (lists / "lists" / "partial").mkdir(parents=True)
        (lists / "archives" / "partial").mkdir(parents=True)
        # Lists of our own: the system's may be missing, and only root may fetch them.
        options = [
            f"-oDir::State::Lists={lists}/lists",
            f"-oDir::Cache={lists}",
            "-oAPT::Sandbox::User=",
            "-oDebug::NoLocking=1",
        ]
        _run(["apt-get", *options, "-qq", "update"])
        _run(["apt-get", *options, "-qq", "download", *packages], lists)
        for file in lists.glob("*.deb"):
            _run(["dpkg-deb", "-x", file, folder])
        shutil.rmtree(lists)

    return _once(name, " ".join(packages), fill)


def _once(name: str, what: str, fill: Callable[[Path], None]) -> Path:
    """Fill a folder unless it already holds the same."""
    folder = OUT / name
    marker = folder / ".installed"
    if marker.exists() and marker.read_text() == what:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        fill(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    marker.write_text(what)
    return folder


def _run(command: Sequence[str | Path], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"it took longer than {_SECONDS} s to install") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise BenchError(f"it can't be installed: {lines[-1][:200]}")
