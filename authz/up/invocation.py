"""Write shell commands that call ``authz`` from any folder."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., str]
"""Takes arguments of ``authz`` and returns a shell command."""


def own_command(config_file: Path | None) -> Command:
    """Return a function that writes shell commands for this ``authz`` and this configuration.

    A command changes to the current folder first, because the configuration has relative paths.

    Args:
        config_file: the value of ``--config``.
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
