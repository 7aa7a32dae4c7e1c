"""How a person calls ``authz`` again, from wherever they are."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., str]
"""Arguments of ``authz`` in, a shell command out."""


def own_command(config_file: Path | None) -> Command:
    """Return what writes a shell command that runs this ``authz`` on this configuration.

    The command goes back to this folder first, since paths in the configuration are relative to it.

    Args:
        config_file: what ``--config`` said.
    """
    program = Path(sys.argv[0]).absolute()
    known = shutil.which(program.name)
    words = [str(program)]
    if program.name == "__main__.py":
        words = [sys.executable, "-m", "authz"]
    elif known is not None and Path(known).absolute() == program:
        words = [program.name]
    chosen = config_file or os.environ.get("AUTHZ_CONFIG")
    options = ["--config", str(chosen)] if chosen else []
    folder = shlex.quote(str(Path.cwd()))

    def command(*arguments: str) -> str:
        return f"cd {folder} && {shlex.join([*words, *arguments, *options])}"

    return command
