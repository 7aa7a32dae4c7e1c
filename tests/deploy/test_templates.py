"""The templates for issues and pull requests, and the metadata of the distribution."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest

from tests.support.deployment import REPOSITORY

FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_the_forms_are_valid(form: Path) -> None:
    """GitHub's schemas accept each form."""
    schema = "vendor.github-issue-config" if form.stem == "config" else "vendor.github-issue-forms"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(form)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", ".github/PULL_REQUEST_TEMPLATE.md"])
def test_the_targets_of_make_exist(page: str) -> None:
    """The Makefile has every `make` target that the page names."""
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", (REPOSITORY / page).read_text()))
    assert named
    assert named <= targets


def test_the_metadata() -> None:
    """The metadata has authors and classifiers, and no text has an invented address."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["authors"] == [{"name": "The authz maintainers"}]
    assert "Programming Language :: Python :: 3.11" in project["classifiers"]
    assert "urls" not in project
    assert metadata("ai-gateway-authz")["License-Expression"] == "Apache-2.0"
    texts = ("SECURITY.md", "CONTRIBUTING.md", ".github/PULL_REQUEST_TEMPLATE.md")
    for name in texts:
        assert "example." not in (REPOSITORY / name).read_text(), name
