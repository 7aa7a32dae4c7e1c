"""The Makefile's environment, and the checks before anything is installed."""

import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import authz
from tests.support.deployment import REPOSITORY

CHECK = REPOSITORY / "requirements" / "check.py"
problem = runpy.run_path(str(CHECK))["problem"]


@pytest.mark.parametrize(
    "machine",
    [
        ((3, 11, 0), "Linux", "x86_64", "2.31"),
        ((3, 14, 1), "Linux", "aarch64", "2.41"),
        ((3, 12, 3), "Darwin", "arm64", "15.0"),
        ((3, 12, 3), "Darwin", "arm64", "26.1"),
    ],
)
def test_where_it_runs(machine: tuple[tuple[int, ...], str, str, str]) -> None:
    """A platform that Envoy's wheel supports has no problem."""
    assert problem(*machine) is None


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (((3, 10, 9), "Linux", "x86_64", "2.31"), "Python 3.11 or newer is needed, this is 3.10.9"),
        (((2, 7, 18), "Linux", "x86_64", "2.31"), "Python 3.11 or newer"),
        (((3, 11, 0), "Linux", "x86_64", "2.30"), "glibc 2.30"),
        (((3, 11, 0), "Linux", "x86_64", ""), "glibc unknown"),
        (((3, 11, 0), "Linux", "riscv64", "2.41"), "Linux riscv64"),
        (((3, 11, 0), "Darwin", "x86_64", "15.1"), "Darwin x86_64"),
        (((3, 11, 0), "Darwin", "arm64", "14.7"), "Darwin arm64 14.7"),
        (((3, 11, 0), "Windows", "AMD64", ""), "Windows"),
    ],
)
def test_where_it_does_not(machine: tuple[tuple[int, ...], str, str, str], said: str) -> None:
    """The problem of any other platform is one sentence: what is needed, and what is there."""
    text = problem(*machine)
    assert said in text
    if "Python" not in text:
        assert "Linux x86_64 and aarch64 from glibc 2.31, and for macOS 15 on arm64" in text


def test_the_readme_has_the_same_platforms() -> None:
    """The README and the error name the same platforms of Envoy's wheel."""
    platforms = "exists for Linux x86_64 and aarch64 from glibc 2.31, and for macOS 15 on arm64"
    assert platforms in (REPOSITORY / "README.md").read_text()
    assert platforms in runpy.run_path(str(CHECK))["PLATFORMS"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the Makefile and no environment."""
    (tmp_path / "requirements").mkdir()
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    shutil.copy(CHECK, tmp_path / "requirements")
    return tmp_path


def _make(folder: Path, python: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", ".venv/bin/python", f"PYTHON={python}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def _works(folder: Path) -> bool:
    command = [str(folder / ".venv" / "bin" / "python"), "-c", "import pip"]
    return subprocess.run(command, check=False).returncode == 0


def test_a_wrong_python_makes_nothing(folder: Path) -> None:
    """A Python that is too old is reported before an environment is created."""
    old = (
        'exec {} -c "import sys; sys.version_info = (3, 9, 2); exec(open(sys.argv[1]).read())" "$@"'
    )
    done = _make(folder, _program(folder / "old", old.format(sys.executable)))
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed, this is 3.9.2" in done.stderr
    assert not (folder / ".venv").exists()


def test_what_is_half_made_is_removed(folder: Path) -> None:
    """A half-created environment is removed."""
    half = 'case "$1" in -m) mkdir -p .venv/bin; : > .venv/bin/python; exit 1;; esac; exec {} "$@"'
    done = _make(folder, _program(folder / "half", half.format(sys.executable)))
    assert done.returncode != 0
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("broken", ["echo False", "exit 1", "link"])
def test_a_broken_environment_is_made_again(folder: Path, broken: str) -> None:
    """An environment with an old Python, without pip, or without its Python is replaced."""
    python = folder / ".venv" / "bin" / "python"
    if broken == "link":
        python.parent.mkdir(parents=True)
        python.symlink_to("/nonexistent/python")
    else:
        _program(python, broken)
    (folder / ".venv" / ".run").touch()
    # Installing pip takes seconds, and the test of a good environment does it.
    quick = (
        'case "$1" in -m) {0} -m venv --without-pip .venv;'
        ' : > "$(echo .venv/lib/python*/site-packages)/pip.py";; *) exec {0} "$@";; esac'
    )
    done = _make(folder, _program(folder / "quick", quick.format(sys.executable)))
    assert done.returncode == 0, done.stderr
    assert _works(folder)
    assert not (folder / ".venv" / ".run").exists()


def test_a_good_environment_stays(folder: Path) -> None:
    """A working environment is kept."""
    assert _make(folder, sys.executable).returncode == 0
    (folder / ".venv" / "mine").touch()
    assert _make(folder, sys.executable).returncode == 0
    assert (folder / ".venv" / "mine").exists()


def test_the_distribution_has_a_name_of_its_own() -> None:
    """The distribution's name is not another project's on PyPI, which no text says to install."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["name"] == "ai-gateway-authz"
    assert "version" not in project
    assert version("ai-gateway-authz") == authz.__version__
    texts = (
        "*.md",
        "docs/**/*.md",
        "authz/**/*.py",
        "authz/**/*.yaml",
        "deploy/**/*",
        "Dockerfile",
    )
    files = {file for pattern in texts for file in REPOSITORY.glob(pattern) if file.is_file()}
    assert len(files) > 200
    told = [
        file
        for file in files
        if "authz[" in file.read_text() or "install authz" in file.read_text()
    ]
    assert told == []
