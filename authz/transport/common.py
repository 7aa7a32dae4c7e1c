"""The parts that both gRPC servers share: methods as data, and listening.

The servers carry bytes. They do not know what a method means, and this module loads no gRPC
library, because one of the servers has none.
"""

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from authz.addresses import Address, TcpAddress, UnixAddress

Answer = Callable[[bytes], Awaitable[bytes]]
"""Takes a serialized request message and returns a serialized response message."""

Trace = Callable[[bytes], Answer]
"""Takes a W3C ``traceparent`` and returns what answers the call that it came with."""


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A method with one request and one response.

    Attributes:
        answer: takes a request message and returns a response message.
        immediate: whether ``answer`` never waits; such a call needs no task.
        traced: answers a call with a ``traceparent`` in place of ``answer``; None for a method
            that is not traced.
    """

    answer: Answer
    immediate: bool = False
    traced: Trace | None = None


@dataclass(frozen=True, slots=True)
class ClientStream:
    """A client-streaming method.

    Attributes:
        receive: called with each message as soon as it is complete; it neither waits nor raises.
        answer: the response, sent when the stream ends or the server stops.
    """

    receive: Callable[[bytes], None]
    answer: bytes


Methods = Mapping[str, UnaryMethod | ClientStream]
"""The methods that a server serves, by path: ``/package.Service/Method``."""


def services_of(methods: Methods) -> frozenset[str]:
    """Return the names of the services that the methods belong to, such as ``package.Service``."""
    return frozenset(path.split("/")[1] for path in methods)


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
