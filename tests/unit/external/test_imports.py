"""authz.external is loaded only where external gateways are configured."""

import subprocess
import sys


def test_nothing_is_loaded_without_the_setting() -> None:
    """The service imports nothing of the package before a configuration asks for it."""
    program = """
import sys
import authz.serve.reloading
from authz.config.settings import Config
from authz.serve.reloading import _external_reader
assert _external_reader(Config()) is None
assert not [name for name in sys.modules if name.startswith("authz.external")]
assert "authz.pb.external_check_pb2" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
