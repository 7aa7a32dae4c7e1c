"""Atomic writing of files."""

import os
import stat
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file atomically, by renaming a temporary file beside it.

    A device or a pipe, such as ``/dev/stdout``, is written to and not replaced.

    Args:
        path: the file. The old content stays until the new content is complete.
        text: written as UTF-8.
        mode: permission bits, set before the first byte is written.

    Raises:
        OSError: the folder can't be written to.
    """
    if _is_special(path):
        path.write_text(text, encoding="utf-8")
        return
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        # The name of the temporary file would not help the reader of the error.
        error.filename = str(path)
        raise
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _is_special(path: Path) -> bool:
    """Return whether there is something other than a regular file, such as a device."""
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)
