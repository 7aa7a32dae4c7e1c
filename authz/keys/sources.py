"""Reads central provider keys from environment variables and files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import structlog

from authz.arrivals import ARRIVAL
from authz.core import tokens
from authz.secret import Secret

_log = structlog.get_logger(__name__)


class CentralKey(Protocol):
    """The company's key for one provider."""

    def current(self) -> Secret | None:
        """Return the key for this request, or None if there is no key."""
        ...


class EnvKey:
    """A key in an environment variable, which can't change while the process runs.

    Args:
        name: the variable; unset or empty means no central key.

    Raises:
        ValueError: the value can't be a key; the message does not show the value.
    """

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        text = environ.get(name, "").strip()
        self._key = checked_key(text) if text else None

    def current(self) -> Secret | None:
        """Return the key, or None if the variable is unset or empty."""
        return self._key


class FileKey:
    """A key in a file, read again when the file changes.

    Every request checks the file, or shares the check of those that arrived with it
    (``authz.arrivals``), so a new key is used at once. While the file is
    missing or unreadable, as during a careless rewrite, the last good key stays in use.

    Args:
        path: a file of UTF-8 text; white space around the key is ignored.

    Raises:
        OSError: the file can't be read now.
        ValueError: the content can't be a key; the message does not show the content.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._stamp = self._read_stamp()
        self._key = self._read()
        self._arrival = 0

    def current(self) -> Secret | None:
        """Return the key in the file, or the last good key."""
        arrival = ARRIVAL.number
        if arrival and arrival == self._arrival:
            return self._key
        self._arrival = arrival
        try:
            stamp = self._read_stamp()
        except OSError:
            stamp = None
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._key = self._read()
                _log.info("central key re-read", file=self._path)
            except (OSError, ValueError) as error:
                problem = error.strerror if isinstance(error, OSError) else str(error)
                _log.error("central key kept: the file can't be used", file=self._path, why=problem)
        return self._key

    def _read_stamp(self) -> tuple[int, int, int] | None:
        status = os.stat(self._path)
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _read(self) -> Secret:
        try:
            return checked_key(Path(self._path).read_text(encoding="utf-8").strip())
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8 text") from None


def checked_key(text: str) -> Secret:
    """Return a key from its text.

    Raises:
        ValueError: the text can't be a key; the message does not show it.
    """
    if not text:
        raise ValueError("holds no key")
    if not all("\x21" <= character <= "\x7e" for character in text):
        raise ValueError("holds a key with white space or characters outside visible ASCII")
    if tokens.has_token_shape(text):
        raise ValueError("holds a Coder token, not a provider key")
    return Secret(text)
