"""What has to be free before anything is started."""

from pathlib import Path

from authz.addresses import Address, TcpAddress
from authz.errors import StartError, what_failed
from authz.serving import can_listen, remove_stale_socket
from authz.settings import Config


def check_addresses(config: Config) -> None:
    """Make sure that every address of the pair can be listened on.

    Envoy shares a taken port in silence (SO_REUSEPORT), so this is the only place that notices.

    Raises:
        StartError: one can't; the message names its key.
    """
    addresses: dict[str, Address] = {
        "listen": config.listen,
        **{f"authz.grpc ({n})": one for n, one in enumerate(config.authz.grpc_addresses) if n},
        "authz.grpc": config.authz.grpc,
        "authz.http": config.authz.http,
        "envoy.admin": config.admin_address,
    }
    if config.authz.http_for_envoy is not None:
        addresses["authz.envoy_http"] = config.authz.http_for_envoy
    if config.envoy.metrics is not None:
        addresses["envoy.metrics"] = config.envoy.metrics
    if config.proxy is not None:
        addresses["proxy.listen"] = config.proxy.listen
    taken: dict[str, str] = {}
    for key, address in addresses.items():
        if str(address) in taken:
            raise StartError(f"{key}: {address} is the address of {taken[str(address)]} too")
        taken[str(address)] = key
        try:
            _try(address)
        except OSError as error:
            raise StartError(f"{key}: {address}: {what_failed(error)}") from None


def _try(address: Address) -> None:
    if not isinstance(address, TcpAddress):
        path = Path(address.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale_socket(path)
        return
    can_listen(address)
