"""Check that the addresses of the pair are free, before anything starts."""

from pathlib import Path

from authz.addresses import Address, TcpAddress
from authz.config.rules import addresses
from authz.config.settings import Config
from authz.errors import ConfigError, what_failed
from authz.transport.common import remove_stale_socket, require_free

_CURE = "set another address in gateway.yaml ('authz init' writes the file)"


def check_addresses(config: Config) -> None:
    """Check that every address of the pair can be bound.

    Envoy does not report a port in use: it shares the port (SO_REUSEPORT).

    Raises:
        ConfigError: addresses can't be bound; a line for each names its setting.
    """
    problems = []
    for key, address in addresses(config).items():
        try:
            _try(address)
        except OSError as error:
            problems.append(f"{key}: {address}: {what_failed(error)}: {_CURE}")
    if problems:
        raise ConfigError(problems)


def _try(address: Address) -> None:
    if not isinstance(address, TcpAddress):
        path = Path(address.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale_socket(path)
        return
    require_free(address)
