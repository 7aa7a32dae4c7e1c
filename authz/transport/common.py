"""The parts that both gRPC servers share: methods as data, and listening sockets.

The servers carry bytes and do not know what a method means. This module loads no gRPC library,
since one of the servers uses none.
"""

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from authz.addresses import Address, TcpAddress, UnixAddress

Handler = Callable[[bytes], bytes | Awaitable[bytes]]
"""Takes a serialized request message and returns a serialized response message.

It returns an awaitable if it has to wait for something, or always.
"""

TracedHandler = Callable[[bytes], Handler]
"""Takes a call's W3C ``traceparent`` and returns the handler of this call."""


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A method with one request and one response.

    Attributes:
        handler: takes a request message and returns a response message.
        immediate: whether ``handler`` does not wait, so that such a call needs no task. A call that
            has to wait yields once before, with ``asyncio.sleep(0)``, and goes on in a task.
        traced: replaces ``handler`` for a call with a ``traceparent``; None for a method without
            traces.
    """

    handler: Handler
    immediate: bool = False
    traced: TracedHandler | None = None


@dataclass(frozen=True, slots=True)
class ClientStream:
    """A client-streaming method.

    Attributes:
        receive: called with each complete message; it neither waits nor raises.
        response: sent when the stream ends or the server stops.
    """

    receive: Callable[[bytes], None]
    response: bytes


class Conversation(Protocol):
    """One call of a ``BidiStream``; no method waits or raises."""

    def receive(self, message: bytes) -> bytes | None:
        """Take a complete message, and return the answer to send, or None."""

    def ended(self) -> None:
        """Note the end of the call, whichever side has ended it."""


@dataclass(frozen=True, slots=True)
class BidiStream:
    """A bidirectional method, whose calls the server ends with an error when it stops.

    Attributes:
        open: called for each call with the value of the request header ``ROUTE_HEADER``, and with
            a function that sends a message at any time until the call ends.
    """

    open: Callable[[str, Callable[[bytes], None]], Conversation]


Method = UnaryMethod | ClientStream | BidiStream
Methods = Mapping[str, Method]
"""The methods of a server by path: ``/package.Service/Method``."""


def services_of(methods: Methods) -> frozenset[str]:
    """Return the names of the methods' services, such as ``package.Service``."""
    return frozenset(path.split("/")[1] for path in methods)


BACKLOG = 1024
"""The most connections that wait for the server to accept them."""

DRAIN_SECONDS = 1.5
"""Time in which a stopping server on TCP reports that it is not serving, before it stops.

It is longer than Envoy's health check interval (``authz/envoy/authz_clusters.py``).
"""


def require_free(address: TcpAddress) -> None:
    """Return if a server can listen on a TCP address.

    Raises:
        OSError: the address can't be bound.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    socket.create_server((address.host, address.port), family=family).close()


def bind(address: Address) -> socket.socket:
    """Return a listening socket; only this user may connect to a Unix socket.

    Raises:
        OSError: the address can't be bound.
    """
    if not isinstance(address, UnixAddress):
        return socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if ":" in address.host else socket.AF_INET,
            backlog=BACKLOG,
            # As in grpcio, "::" also means every IPv4 address.
            dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
        )
    path = Path(address.path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_stale_socket(path)
    listener = socket.socket(socket.AF_UNIX)
    # A process that can connect can obtain provider keys.
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
        OSError: a running process listens on the socket, or the path is not a socket.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "the path is a file that is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        # Non-blocking, since a suspended process has a socket but accepts nothing.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "already in use")
