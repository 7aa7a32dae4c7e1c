"""The places that manifests name: authz, and the providers of the routes."""

from collections.abc import Sequence
from dataclasses import dataclass

from authz.addresses import TcpAddress
from authz.config.external_gateways import ExternalRoute
from authz.config.settings import Config, Provider
from authz.errors import ConfigError

REMOVED_FROM_ANSWERS = ["set-cookie", "alt-svc"]
"""Headers of a provider's answer that the client must not get."""

CHECK_SECONDS = 2
"""The time for which a gateway waits for authz."""

CA_NAME = "authz-ca"
CLIENT_NAME = "authz-client"
"""The objects with the CA and the gateway's certificate, which the team creates."""


@dataclass(frozen=True)
class Mounted:
    """A route and its provider.

    Attributes:
        client: the prefix of the client's path that the gateway replaces.
        upstream: what the provider has in its place.
    """

    route: ExternalRoute
    provider: Provider
    client: str
    upstream: str


def mounted_routes(config: Config, *, by_host: bool) -> list[Mounted]:
    """Return the routes of one kind with their providers.

    Args:
        by_host: take the routes that are bound to hosts, else those bound to HTTPRoutes.

    Raises:
        ConfigError: there are none, or a provider can't be named in manifests.
    """
    external = config.external_gateways
    routes = external.routes if external is not None else ()
    chosen = [route for route in routes if (route.host is not None) == by_host]
    if not chosen:
        key = "host" if by_host else "httproute"
        raise ConfigError(
            [f"external_gateways.routes: has no route with {key}: add the route to print"]
        )
    providers = {provider.name: provider for provider in config.providers}
    found = []
    for route in chosen:
        provider = providers[route.provider]
        if provider.base_url.tls and provider.base_url.is_ip:
            raise ConfigError(
                [f"providers: {provider.name} has a base_url with https and an address: use a name"]
            )
        prefix = f"{route.prefix}{provider.provider_type.client_prefix}"
        found.append(Mounted(route, provider, prefix or "/", provider.base_url.path))
    return found


def authz_addresses(config: Config, given: Sequence[TcpAddress]) -> list[TcpAddress]:
    """Return the addresses at which a gateway asks authz.

    Args:
        given: those of the command line, which come first.

    Raises:
        ConfigError: gateways on other machines can't reach any.
    """
    if given:
        return list(given)
    if config.envoy.authz_grpc:
        return list(config.envoy.authz_grpc)
    address = config.authz.grpc
    is_reachable = (
        isinstance(address, TcpAddress)
        and address.for_clients == address
        and not address.is_loopback
        and len(config.authz.grpc_addresses) == 1
    )
    if not isinstance(address, TcpAddress) or not is_reachable:
        raise ConfigError(
            [
                f"authz.grpc: {address} is no address for other machines: name the one at which "
                "gateways reach authz with --authz HOST:PORT, or in envoy.authz_grpc"
            ]
        )
    return [address]
