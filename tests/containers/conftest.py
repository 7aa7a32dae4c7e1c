"""The stack of docker-compose.yml for all tests of this folder, from empty volumes."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

import authz
from tests.containers.bases import REPOSITORY
from tests.containers.programs import run
from tests.containers.stack import Stack, new_stack

_HERE = Path(__file__).parent
_ENABLED = os.environ.get("AUTHZ_CONTAINERS") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests unless there is an engine with base images; bound the time of each."""
    reason = "needs a Docker engine, Compose and base images: `make test-containers` provides them"
    for item in items:
        if _HERE not in item.path.parents:
            continue
        # Builds and starts are in fixtures, which bound their commands themselves.
        item.add_marker(pytest.mark.timeout(180, func_only=True))
        if not _ENABLED:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure if everything is provided."""
    report = yield
    if _ENABLED and report.skipped and _HERE in item.path.parents:
        report.outcome = "failed"
        report.longrepr = f"skipped, although an engine is there: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image as the documentation says, and return its id.

    Not its name: Compose builds an image of the same name.
    """
    run("make", "--no-print-directory", "-C", str(REPOSITORY), "image", timeout=900)
    return run("docker", "inspect", "--format", "{{.Id}}", f"authz:{authz.__version__}").strip()


@pytest.fixture(scope="session")
def stack(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the stack by the documented commands; its first token is ``stack.token``."""
    with new_stack(tmp_path_factory.mktemp("stack")) as running:
        print(f"started and answered in {running.start():.0f} s")
        yield running
