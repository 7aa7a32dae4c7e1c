"""Reads authz's certificate for Envoy and the CA of Envoy's certificate, again when they change."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from authz.config.service import MutualTls
from authz.errors import StartError

_log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5

_Stamp = tuple[tuple[int, int, int] | None, ...]


class TlsFiles:
    """The last good content of the three TLS files.

    Args:
        tls: names the files.
        protocol: the ALPN name of the protocol over the connection.

    Attributes:
        context: for new connections, with TLS 1.2 or later. A client needs a certificate that the
            CA has signed.
        key, chain, authorities: the same as PEM text.

    Raises:
        StartError: the files can't be used.
    """

    def __init__(self, tls: MutualTls, protocol: str = "h2") -> None:
        self._tls = tls
        self._protocol = protocol
        self._seen = self._tried = self._stamp()
        try:
            self._load()
        except (OSError, ValueError) as error:
            raise StartError(f"authz.tls: {_why(error)}") from None

    def refresh(self) -> bool:
        """Read the files again if they changed; call this regularly.

        The files must be unchanged between two calls, since a certificate and its key are replaced
        one after the other. Files that can't be used are logged once, and the last good ones stay
        in use.

        Returns:
            Whether new files are in use.
        """
        stamp = self._stamp()
        is_settled, self._seen = stamp == self._seen, stamp
        if not is_settled or stamp == self._tried:
            return False
        self._tried = stamp
        try:
            self._load()
        except (OSError, ValueError) as error:
            _log.error("authz.tls not replaced: the last good files stay", why=_why(error))
            return False
        _log.info("authz.tls replaced", cert_file=str(self._tls.cert_file))
        return True

    def _stamp(self) -> _Stamp:
        return tuple(
            _stamp_of(path) for path in (self._tls.cert_file, self._tls.key_file, self._tls.ca_file)
        )

    def _load(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols([self._protocol])
        # A resumed session sends no certificate, so it would pass after the certificate expired.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        authorities = self._tls.ca_file.read_bytes()
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise ValueError(f"{self._tls.ca_file}: has no PEM certificates") from None
        key, chain = self._tls.key_file.read_bytes(), self._tls.cert_file.read_bytes()
        try:
            # With an empty password OpenSSL does not ask for one on the terminal.
            context.load_cert_chain(self._tls.cert_file, self._tls.key_file, password="")
        except (ssl.SSLError, ValueError):
            raise ValueError(
                f"{self._tls.cert_file} and {self._tls.key_file} are not a matching PEM pair"
            ) from None
        self.context, self.key, self.chain, self.authorities = context, key, chain, authorities


async def keep_fresh(files: TlsFiles, replaced: Callable[[], Awaitable[None]]) -> None:
    """Check the files twice a second, as long as the service runs.

    Args:
        replaced: called when new files are in use.
    """
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if files.refresh():
            await replaced()


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)
