"""authz.envoy.import_hook: Envoy's typed API as plain dataclasses, and nothing else changed."""

import os
import subprocess
import sys

MODULES = """
import importlib, pkgutil, authz
for module in pkgutil.walk_packages(authz.__path__, "authz."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
PLAIN = """
import pydantic.dataclasses
before = pydantic.dataclasses.dataclass
import authz.envoy.render
from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.service.auth.v3 import CheckRequest
assert pydantic.dataclasses.dataclass is before

@pydantic.dataclasses.dataclass
class Other:
    number: int

assert Other("1").number == 1
assert not pydantic.dataclasses.is_pydantic_dataclass(Route)
assert not pydantic.dataclasses.is_pydantic_dataclass(CheckRequest)
assert Route(name="a").to_dict() == {"name": "a"}
"""
ONCE = """
import authz.envoy
from envoy_data_plane.envoy.config.route.v3 import Route, VirtualHost
hosts = VirtualHost._type_hints()
assert Route._type_hints() is Route._type_hints()
assert VirtualHost._type_hints() is hosts
assert set(hosts) == set(VirtualHost.__dataclass_fields__)
assert set(Route._type_hints()) == set(Route.__dataclass_fields__)
"""


def _run(script: str) -> None:
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_module_can_be_imported_with_warnings_as_errors() -> None:
    """No module causes a warning when imported, so each test file can be collected by itself."""
    _run(MODULES)


def test_pydantic_keeps_its_decorator() -> None:
    """Envoy's messages are plain dataclasses, and pydantic's own decorator works as before."""
    _run(PLAIN)


def test_annotations_are_evaluated_once() -> None:
    """Each of Envoy's messages keeps the types of its own fields."""
    _run(ONCE)
