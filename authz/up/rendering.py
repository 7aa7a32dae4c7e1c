"""Write the configuration of the two processes of a pair, for a start or a reload."""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from authz.config.loading import ALLOW_BYOK_VARIABLES
from authz.config.settings import Config
from authz.envoy.parts import Parts
from authz.errors import StartError
from authz.files import write_whole
from authz.serve.children import Child

AUTHZ: Sequence[str | Path] = (sys.executable, "-m", "authz")
_RENDER_SECONDS = 60.0


def envoy_folder(config: Config) -> Path:
    """Return the folder that Envoy watches. It has the port, so that pairs may share a folder."""
    return config.state_folder / f"envoy-{config.listen.port}"


def snapshot_file(config: Config, name: str) -> Path:
    """Return the file with the checked configuration for a child.

    Children read this file and never ``gateway.yaml``, which may have changed since the check.
    """
    return config.state_folder / f"{name}-{config.listen.port}.yaml"


def write_snapshot(config: Config, name: str) -> Path:
    """Write a configuration for a child, including values from flags and the environment.

    Raises:
        OSError: the state folder can't be written to.
    """
    path = snapshot_file(config, name)
    values = config.model_dump(mode="json", exclude_none=True)
    # Mode 0600, because the identity URL may contain a password.
    write_whole(path, yaml.safe_dump(values, sort_keys=False), 0o600)
    return path


def without_byok_variables(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment of a child, without the variables whose values its snapshot has."""
    return {name: value for name, value in environ.items() if name not in ALLOW_BYOK_VARIABLES}


def _for_this_output(config: Config) -> Config:
    """Return the configuration with the access log's format for the standard output."""
    if config.log.access != "auto":
        return config
    access = "text" if sys.stdout.isatty() else "json"
    return config.model_copy(update={"log": config.log.model_copy(update={"access": access})})


def rendered(config: Config, environ: dict[str, str]) -> Parts:
    """Render Envoy's configuration in a child, because the typed objects take a second to import.

    Args:
        config: the configuration to render.
        environ: the environment of the child.

    Raises:
        StartError: it can't be rendered; the child has printed the reason.
        OSError: the state folder can't be written to.
    """
    snapshot = write_snapshot(_for_this_output(config), "rendering")
    output = config.state_folder / f"rendering-{config.listen.port}.json"
    command = [*AUTHZ, "envoy", "parts", "--config", snapshot, "-o", output, envoy_folder(config)]
    try:
        if Child("authz envoy render", command, environ).wait(_RENDER_SECONDS) != 0:
            raise StartError("Envoy's configuration can't be rendered; see the message above")
        return Parts.from_json(output.read_text(encoding="utf-8"))
    finally:
        snapshot.unlink(missing_ok=True)
        output.unlink(missing_ok=True)
