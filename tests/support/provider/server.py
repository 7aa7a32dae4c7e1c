"""Run the tests' stand-in in a background thread."""

from collections.abc import Mapping
from types import MappingProxyType

from authz.demo import server
from authz.demo.accounts import Accounts
from tests.support.provider.app import create_app
from tests.support.provider.recording import Observer


class Server(server.Server):
    """The tests' stand-in, as a context manager.

    Args:
        accounts: the providers to imitate and the credentials they accept.
        host: the address to listen on.
        port: the port to listen on; the system chooses one for 0.
        observer: called in the background thread; see `create_app`.
        chunk_delay: see `create_app`.
        certfile: PEM certificate chain; with `keyfile` the stand-in serves TLS.
        keyfile: PEM private key.
        refused: see `create_app`.
        retry_after: see `create_app`.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        observer: Observer | None = None,
        chunk_delay: float = 0.02,
        certfile: str | None = None,
        keyfile: str | None = None,
        refused: Mapping[str, int] = MappingProxyType({}),
        retry_after: int = 7,
    ) -> None:
        super().__init__(
            create_app(
                accounts,
                observer=observer,
                chunk_delay=chunk_delay,
                refused=refused,
                retry_after=retry_after,
            ),
            host=host,
            port=port,
            ws="auto",
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
        )
