"""Keep a demo's users, tokens and recorded requests apart from those of a real pair."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from authz.config.settings import Config
from authz.database.url import SQLiteURL, parse_identity_url


def demo_folder(config: Config) -> Path:
    """Return the folder of a demo. It has the port, so that demos may share a state folder."""
    return config.state_folder / f"demo-{config.listen.port}"


def has_own_store(config: Config) -> bool:
    """Return whether a demo has its own users and tokens. It can't imitate other sources."""
    return isinstance(parse_identity_url(config.identity), SQLiteURL)


def with_own_state(config: Config) -> Config:
    """Return the configuration with the demo's own databases.

    Coder and PostgreSQL stay the identity source. A demo does not write to them.
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
    """Hold a lock that tells commands of the demo. It ends with the process in every case."""
    descriptor = os.open(_lock(config), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def of_running_demo(config: Config) -> Config | None:
    """Return the configuration of the running demo that a command should use, or None.

    A command uses the demo while it runs and the configured store does not exist.
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
