"""The units of deploy/systemd: systemd accepts them, and they fit the configuration beside them."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from authz.config.loading import load
from authz.config.uses import Uses
from tests.support.deployment import DEPLOY

FOLDER = DEPLOY / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not here (Debian: apt install systemd)",
)


def _unit(name: str) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(FOLDER / name)
    return unit


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_it(name: str, tmp_path: Path) -> None:
    """Systemd knows every line of the unit, if the programs are in the unit's places."""
    text = (FOLDER / name).read_text()
    for program in ("/opt/authz/bin/authz", "/usr/local/bin/envoy"):
        text = text.replace(program, "/bin/true")
    (tmp_path / name).write_text(text)
    # Other units are none of its business, as authz.service is not installed here.
    line = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_it_is_hardened(name: str) -> None:
    """Systemd rates the exposure at 1.2 of 10: only the network and the file system are left."""
    line = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(FOLDER / name)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", UNITS)
def test_the_hardening_is_the_same(name: str) -> None:
    """All units have the same hardening lines."""
    marker = "# --- what the process can't do ---"
    blocks = {
        unit: (FOLDER / unit).read_text().partition(marker)[2].partition("[Install]")[0]
        for unit in UNITS
    }
    assert blocks[name] == blocks["authz.service"] != ""


def test_the_configuration() -> None:
    """The configuration is valid, and its keys, admin port and drain time match the units."""
    config = load(FOLDER / "gateway.yaml", uses=Uses.NOTHING, environ={})
    unit = _unit("authz.service")
    credentials = re.findall(r"LoadCredential=(\w+):", (FOLDER / "authz.service").read_text())
    named = [reference.file for one in config.providers for _, reference in one.key_references]
    assert named == [Path("/run/credentials/authz.service") / name for name in credentials]
    assert f"LoadCredential={credentials[0]}:" in (FOLDER / "authz-up.service").read_text()
    envoy = _unit("authz-envoy.service")["Service"]
    environment = dict(item.split("=") for item in envoy["Environment"].split())
    assert config.envoy.admin is not None
    assert str(config.envoy.admin) == f"127.0.0.1:{environment['ENVOY_ADMIN_PORT']}"
    assert f"/tcp/127.0.0.1/{environment['ENVOY_ADMIN_PORT']})" in envoy["ExecStartPost"]
    drain = int(environment["DRAIN_SECONDS"])
    assert drain == config.envoy.drain_timeout
    for name in ("authz-envoy.service", "authz-up.service"):
        assert int(_unit(name)["Service"]["TimeoutStopSec"]) > drain
    store = Path(config.identity.removeprefix("sqlite:///")).parent
    assert str(store) in envoy["InaccessiblePaths"]
    assert unit["Service"]["StateDirectory"].split()[-1] == str(store).removeprefix("/var/lib/")
