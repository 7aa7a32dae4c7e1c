"""Where a demo keeps its users, tokens and requests: apart from those of a real pair."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from authz.config.settings import Config
from authz.database.url import SQLiteURL, parse_identity_url


def demo_folder(config: Config) -> Path:
    """Return the folder of a demo; the port keeps two demos in one folder apart."""
    return config.state_folder / f"demo-{config.listen.port}"


def has_own_store(config: Config) -> bool:
    """Return whether a demo makes users and tokens of its own: other sources can't be played."""
    return isinstance(parse_identity_url(config.identity), SQLiteURL)


def with_own_state(config: Config) -> Config:
    """Return the configuration with databases of the demo's own.

    Coder and PostgreSQL stay the identity source, of which a demo makes and changes nothing.
    """
    folder = demo_folder(config)
    if has_own_store(config):
        usage = config.usage.model_copy(update={"database": None})
        identity = _url(folder / "identity.db")
        return config.model_copy(update={"identity": identity, "usage": usage})
    usage = config.usage.model_copy(update={"database": _url(folder / "usage.db")})
    return config.model_copy(update={"usage": usage})


@contextlib.contextmanager
def marked_as_running(config: Config) -> Iterator[None]:
    """Let commands know of a running demo; the mark goes with the process, however it ends."""
    descriptor = os.open(_lock(config), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def of_running_demo(config: Config) -> Config | None:
    """Return the configuration of the demo that commands mean, or None.

    It is meant while it runs and the store that the configuration names is not there.
    """
    url = parse_identity_url(config.identity)
    if not isinstance(url, SQLiteURL) or url.path.exists() or not _is_running(config):
        return None
    return with_own_state(config)


def _is_running(config: Config) -> bool:
    try:
        descriptor = os.open(_lock(config), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(config: Config) -> Path:
    return demo_folder(config) / "running"


def _url(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"
