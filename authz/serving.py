"""What both servers of checks have in common. It loads no gRPC library: one of them has none."""

import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from authz.addresses import TcpAddress

CheckHandler = Callable[[bytes], Awaitable[bytes]]
"""A serialized ``CheckRequest`` in, a serialized ``CheckResponse`` out."""

TracedHandler = Callable[[bytes], CheckHandler]
"""A W3C ``traceparent`` in, what answers the check that it came with out."""

LogHandler = Callable[[bytes], None]
"""A serialized ``StreamAccessLogsMessage`` in."""

DRAIN_SECONDS = 1.5
"""How long a server at a TCP address says that it is not serving before it takes nothing more:
longer than between two of Envoy's questions (``authz/envoy/authz_clusters.py``)."""


def can_listen(address: TcpAddress) -> None:
    """Return when a TCP address can be listened on.

    Raises:
        OSError: it can't.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    socket.create_server((address.host, address.port), family=family).close()


def remove_stale_socket(path: Path) -> None:
    """Remove a Unix socket that a dead process left behind.

    Raises:
        OSError: a living process listens on it, or the path is something else than a socket.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX) as probe:
        # A living process that accepts nothing, because it is stopped, must not hold us up.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "already in use")
