"""Free ports, each given once, also when several test runs share a machine."""

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

_PORTS = range(20_000, 32_000)
"""Ports below the ephemeral range, so that no outgoing connection uses one."""
_LOCKS = Path(tempfile.gettempdir()) / f"authz-ports-{os.getuid()}"
_held: dict[int, int] = {}
"""The descriptor of a locked file by port. The lock ends with the process."""


def free_port() -> int:
    """Return a free port that no other process is given while this process lives."""
    _LOCKS.mkdir(exist_ok=True)
    # Not `random`: hypothesis seeds it again and again, and would make every port the same.
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        if port in _held:
            continue
        lock = os.open(_LOCKS / str(port), os.O_CREAT | os.O_RDWR)
        with contextlib.suppress(OSError), socket.socket() as probe:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            _held[port] = lock
            return port
        os.close(lock)
    raise OSError("no free port")
