"""The session token of ``authz login``: one file that only its owner can read."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from authz.core.tokens import parse
from authz.database.url import SQLiteURL, parse_identity_url
from authz.errors import StoreError

VARIABLE = "CODER_SESSION_TOKEN"
"""Overrides the file, as it does for ``coder``."""


def session_path(identity: str) -> Path:
    """Return the path of the session file: beside the SQLite file, else in ``./.authz``."""
    url = parse_identity_url(identity)
    folder = url.path.parent if isinstance(url, SQLiteURL) else Path(".authz")
    return folder / "session"


def current_token(identity: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the session token from the environment or the file; None if there is no session.

    Raises:
        StoreError: the file can't be read or holds no token.
    """
    if token := environ.get(VARIABLE, "").strip():
        return token
    path = session_path(identity)
    try:
        token = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"can't read the session {path}: {error.strerror}") from None
    if parse(token) is None:
        raise StoreError(f"{path} holds no session token: run 'authz login --user NAME' again")
    return token


def where(identity: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the variable or file of ``current_token``, for a message."""
    return f"${VARIABLE}" if environ.get(VARIABLE, "").strip() else str(session_path(identity))


def keep(identity: str, token: str) -> Path:
    """Write the session file with mode 0600; it replaces an older one.

    Raises:
        StoreError: the file can't be written.
    """
    path = session_path(identity)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".session.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{token}\n")
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"can't write the session {path}: {error.strerror}") from None
    return path
