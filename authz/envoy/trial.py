"""Validating what ``render`` writes, before there is a state folder and without touching one."""

import tempfile
from pathlib import Path

from pydantic import PrivateAttr

from authz.config.settings import Config
from authz.envoy.binary import validate
from authz.envoy.render import render
from authz.sds.leaves import make_leaves
from authz.sds.secret_files import write_secrets


class _Elsewhere(Config):
    """The same configuration with another state folder."""

    _folder: Path = PrivateAttr()

    @property
    def state_folder(self) -> Path:
        return self._folder


def validate_rendered(config: Config) -> None:
    """Run Envoy in validate mode on the rendered configuration.

    Envoy refuses a configuration whose watched certificates are not there, and before the first
    start they are not. So this function makes them in a temporary folder: the user who validates
    may be another one than runs the pair, without permission to write beside it.

    Raises:
        ConfigError: the proxy's CA can't be used.
        StartError: Envoy refuses the configuration.
        OSError: there is no place for temporary files.
    """
    moved = _Elsewhere.model_construct(**dict(config))
    with tempfile.TemporaryDirectory(prefix="authz-") as name:
        folder = Path(name)
        moved._folder = folder
        make_leaves(moved)
        write_secrets(moved)
        file = folder / "envoy.yaml"
        file.write_text(render(moved), encoding="utf-8")
        validate(file)
