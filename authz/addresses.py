"""Addresses and base URLs of ``gateway.yaml``, parsed into typed values."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_URL_PATH = re.compile(r"[A-Za-z0-9._~/@:+-]*")
_UNIX_PATH_MAX = 107
"""Linux keeps 108 bytes for the path of a Unix socket, one of them the final NUL (unix(7))."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A ``host:port``; an IPv6 host is kept without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def for_clients(self) -> "TcpAddress":
        """The address that a client on this machine connects to, loopback for a wildcard."""
        wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound
        return TcpAddress(wildcards.get(self.host, self.host), self.port)

    @property
    def is_name(self) -> bool:
        """True if the host is a DNS name, which may stand for several machines."""
        return self.host != "localhost" and not _is_ip(self.host, 4) and not _is_ip(self.host, 6)

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A ``unix:path``; a relative path is relative to the working directory."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """The base URL of a provider.

    Attributes:
        host: lower case, without brackets.
        port: the one in the URL, or the scheme's default.
        path: begins with ``/`` and does not end with ``/``, except for the root ``/``.
    """

    tls: bool
    host: str
    port: int
    path: str

    @property
    def is_ip(self) -> bool:
        """True if the host is an address, not a name."""
        return _is_ip(self.host, 4) or _is_ip(self.host, 6)

    @property
    def is_in_clear(self) -> bool:
        """True if what is sent there crosses a network without TLS."""
        return not self.tls and not TcpAddress(self.host, self.port).is_loopback

    @property
    def authority(self) -> str:
        """The ``Host`` header for this provider, with the port unless it is the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"


def parse_tcp(text: str) -> TcpAddress:
    """Read ``host:port`` or ``[v6]:port``.

    Raises:
        ValueError: the text is neither; the message says what to write.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        well_formed = _is_ip(host, 6)
    else:
        well_formed = _is_hostname(host.lower())
    if not colon or not well_formed or re.fullmatch(r"[0-9]{1,5}", port) is None:
        raise ValueError("must be host:port, for example 127.0.0.1:8080")
    if not 1 <= int(port) <= 65535:
        raise ValueError("the port must be from 1 to 65535")
    return TcpAddress(host, int(port))


def parse_address(text: str) -> Address:
    """Read ``unix:path`` or ``host:port``.

    Raises:
        ValueError: the text is neither, or the path is too long for a socket.
    """
    if not text.startswith("unix:"):
        try:
            return parse_tcp(text)
        except ValueError as error:
            raise ValueError(f"{error}, or unix:path") from None
    path = text.removeprefix("unix:")
    if not path or "\0" in path:
        raise ValueError("must be unix:path, for example unix:./.authz/authz.sock")
    problem = unix_path_problem(path)
    if problem:
        raise ValueError(problem)
    return UnixAddress(path)


def unix_path_problem(path: str) -> str | None:
    """Return the problem with the path of a Unix socket, or None."""
    too_long = len(path.encode()) > _UNIX_PATH_MAX
    return f"the path of a Unix socket has at most {_UNIX_PATH_MAX} bytes" if too_long else None


def parse_base_url(text: str) -> BaseUrl:
    """Read a provider's base URL: scheme, host, optional port and path, nothing else.

    Raises:
        ValueError: the text is not such a URL. The message does not repeat the URL, which may
            contain a password by mistake.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user name or password: set the key with `key`")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("must not have a query or fragment")
    host = parts.hostname or ""
    bracketed = "[" in parts.netloc
    if not (_is_ip(host, 6) if bracketed else _is_hostname(host)):
        raise ValueError("has no valid host name")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("the port must be from 1 to 65535")
    # Envoy normalizes the client's path, but not the part that the gateway adds.
    segments = parts.path.split("/")
    if _URL_PATH.fullmatch(parts.path) is None or "." in segments or ".." in segments:
        raise ValueError("has a path with characters other than letters, digits and ._~/@:+-")
    if "//" in parts.path:
        raise ValueError("has an empty path segment (//)")
    tls = parts.scheme == "https"
    return BaseUrl(tls, host, port or (443 if tls else 80), parts.path.rstrip("/") or "/")


def _is_ip(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version and "%" not in host
    except ValueError:
        return False


def _is_hostname(host: str) -> bool:
    labels = host.split(".")
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels)
