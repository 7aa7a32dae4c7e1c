"""The service loads no library of a capability that is off."""

import subprocess
import sys

import pytest

_OF_CAPABILITIES = (
    "aiohttp",
    "argon2",
    "cryptography",
    "genai_prices",
    "grpc",
    "httpx",
    "jwt",
    "opentelemetry",
    "tabulate",
)


def _loaded(modules: str, names: tuple[str, ...]) -> list[str]:
    """Return the ``names`` that are loaded after an import and a check of a configuration."""
    program = (
        f"import sys, authz.cli.run, {modules}\n"
        "from authz.config.settings import Config\n"
        "from authz.config.uses import Uses, broken_files\n"
        "from authz.sds.leaves import make_leaves\n"
        "config = Config()\n"
        "assert not list(broken_files(config, Uses.AUTHZ_FILES))\n"
        "assert not make_leaves(config)\n"
        "print(*(name for name in sys.argv[1:] if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *names], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_plain_service_loads_none_of_them() -> None:
    """A gateway without the proxy, certificates, stored keys and prices needs no such library."""
    assert _loaded("authz.serve.service", _OF_CAPABILITIES) == []


@pytest.mark.parametrize("name", ["authz.serve.service", "authz.check", "jinja2"])
def test_the_parent_of_workers_loads_no_service(name: str) -> None:
    """The parent only starts workers, so it holds neither the checks nor the pages in memory."""
    assert _loaded("authz.serve.workers", (name,)) == []
    assert _loaded("authz.serve.service", (name,)) == [name]
