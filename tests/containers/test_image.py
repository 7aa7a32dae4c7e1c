"""The image of authz by itself: user, rights, size, health, labels, bill of materials."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import authz
from tests.containers.bases import REPOSITORY
from tests.containers.programs import run
from tests.containers.stack import WAIT
from tests.support.pair import wait_until

OURS = 140_000_000
"""Bytes that the image may add to its base. It adds 130 MB, most of it envoy-data-plane, grpcio,
cryptography, uvloop, asyncpg, pydantic and redis with their byte code; the rest is for their next
versions."""

GATEWAY = """\
providers:
  - {name: anthropic, type: anthropic, base_url: https://api.anthropic.com/}
authz: {workers: 1}
"""


def _inspect(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("docker", "inspect", name))[0]
    return found


@pytest.fixture(scope="module")
def container(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run the image without any privileges, with a store in memory."""
    from testcontainers.core.container import DockerContainer

    file = tmp_path_factory.mktemp("image") / "gateway.yaml"
    file.write_text(GATEWAY)
    file.chmod(0o644)
    one = DockerContainer(image).with_volume_mapping(str(file), "/etc/authz/gateway.yaml", "ro")
    one.with_tmpfs_mount("/var/lib/authz", "size=16m,uid=10001,gid=10001,mode=0750")
    one.with_kwargs(
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        network_mode="none",
    )
    with one as running:
        name = running.get_wrapped_container().id
        wait_until(lambda: _inspect(name)["State"]["Health"]["Status"] == "healthy", WAIT, "health")
        yield running


def test_it_runs_without_rights(container: Any) -> None:
    """The container's process has a user of its own, no capability, and no way to get one."""
    _, output = container.exec(["cat", "/proc/1/status"])
    status = dict(line.split(":\t", 1) for line in output.decode().splitlines() if ":\t" in line)
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_its_files_cannot_be_written(container: Any) -> None:
    """Only the container's state folder is writable."""
    for folder, may in (("/opt/authz", False), ("/etc", False), ("/var/lib/authz", True)):
        code, output = container.exec(["sh", "-c", f"touch {folder}/.try"])
        assert (code == 0) is may, (folder, output)


def test_one_worker_is_small(container: Any) -> None:
    """A container with one worker takes less than 100 MB, of which most is Python's own."""
    used = container.get_wrapped_container().stats(stream=False)["memory_stats"]["usage"]
    print(f"memory: {used / 1e6:.0f} MB")
    assert used < 100_000_000


def test_it_stops_at_once(image: str, container: Any) -> None:
    """SIGTERM ends it within its own two seconds, with status 0."""
    wrapped = container.get_wrapped_container()
    wrapped.stop(timeout=30)
    wrapped.reload()
    assert wrapped.attrs["State"]["ExitCode"] == 0


def test_its_size(image: str) -> None:
    """The image adds no more to its base than it may."""
    base = os.environ.get("PYTHON_IMAGE") or "python:3.11.13-slim-bookworm"
    size, below = _inspect(image)["Size"], _inspect(base)["Size"]
    print(
        f"size: {size / 1e6:.0f} MB, base {below / 1e6:.0f} MB, ours {(size - below) / 1e6:.0f} MB"
    )
    assert size - below < OURS


def test_its_labels(image: str) -> None:
    """The labels name the version, the commit and the location of the source."""
    labels = _inspect(image)["Config"]["Labels"]
    found = {name.rpartition(".")[2]: value for name, value in labels.items()}
    assert found["version"] == authz.__version__
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, text=True)
    assert found["revision"] == head.strip()
    assert "source" in found


def test_its_bill_of_materials(image: str) -> None:
    """The CycloneDX document in the image lists what is installed in it, and nothing else."""
    show = ["docker", "run", "--rm", "--entrypoint"]
    document = json.loads(run(*show, "cat", image, "/opt/authz/sbom.cdx.json"))
    assert document["bomFormat"] == "CycloneDX"
    listed = {
        one["name"].lower().replace("_", "-"): one["version"] for one in document["components"]
    }
    code = (
        "import importlib.metadata as m, json; "
        "found = {d.name.lower().replace('_', '-'): d.version for d in m.distributions()}; "
        "print(json.dumps(found))"
    )
    installed = json.loads(run(*show, "/opt/authz/bin/python", image, "-c", code))
    assert listed == {name: version for name, version in installed.items() if name in listed}
    assert set(installed) - set(listed) <= {"ai-gateway-authz"}


def test_two_builds_have_the_same_files(image: str) -> None:
    """A build without the cache of the first has the same files, down to their times."""
    first = _files(image)
    again = "authz:built-again"
    try:
        run(
            "make", "--no-print-directory", "-C", str(REPOSITORY), "image",
            "BUILD_OPTIONS=--no-cache", f"IMAGE={again}", timeout=900,
        )  # fmt: skip
        assert _files(again) == first
    finally:
        subprocess.run(["docker", "image", "rm", again], capture_output=True, check=False)


def _files(image: str) -> list[str]:
    """Return mode, owner, time and hash of everything that the image adds to its base."""
    script = (
        "cd / && find opt/authz var/lib/authz run/[cde]* etc/passwd etc/group"
        " -printf '%p %M %U:%G %T@\\n' | sort;"
        " find opt/authz etc/passwd etc/group -type f -exec sha256sum {} + | sort"
    )
    command = ["docker", "run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", script]
    return run(*command).splitlines()
