"""What both servers of checks have in common. It loads no gRPC library: one of them has none."""

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from authz.addresses import Address, TcpAddress, UnixAddress

CheckHandler = Callable[[bytes], Awaitable[bytes]]
"""A serialized ``CheckRequest`` in, a serialized ``CheckResponse`` out."""

TracedHandler = Callable[[bytes], CheckHandler]
"""A W3C ``traceparent`` in, what answers the check that it came with out."""

LogHandler = Callable[[bytes], None]
"""A serialized ``StreamAccessLogsMessage`` in."""

BACKLOG = 1024
"""Connections that wait to be accepted."""

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


def bind(address: Address) -> socket.socket:
    """Return a socket that listens; who may connect to a Unix socket is this user alone.

    Raises:
        OSError: the address can't be bound.
    """
    if not isinstance(address, UnixAddress):
        return socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if ":" in address.host else socket.AF_INET,
            backlog=BACKLOG,
            # As grpcio: every address is also every IPv4 address.
            dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
        )
    path = Path(address.path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_stale_socket(path)
    listener = socket.socket(socket.AF_UNIX)
    # Whoever can connect can ask for provider keys.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    return listener


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
