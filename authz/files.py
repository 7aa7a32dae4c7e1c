"""Writing files that are never seen half-written."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file through a draft beside it and a rename.

    Args:
        path: the file; what was there stays until the new content is whole.
        text: written as UTF-8.
        mode: permission bits, set before the first byte is written.

    Raises:
        OSError: the folder can't be written to.
    """
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        # The draft's name says nothing to whoever asked for the file.
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
