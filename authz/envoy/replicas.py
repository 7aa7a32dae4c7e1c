"""The addresses of authz's processes, together and one by one."""

from authz.addresses import Address
from authz.config.settings import Config
from authz.envoy.filters import AUTHZ_CLUSTER


def authz_addresses(config: Config) -> tuple[Address, ...]:
    """Return the addresses of all replicas and workers."""
    return config.envoy.authz_grpc or config.authz.grpc_addresses


def notified_clusters(config: Config) -> dict[str, Address | None]:
    """Return the clusters that are told of refused keys, each with its address.

    Every process chooses keys, so each has to know. Of several behind one name only one is told, by
    each thread of Envoy's, and tells the others (``authz.cooldowns``). They do not depend on the
    providers, because a reload can't change them.

    Returns:
        By name; without an address the cluster of all checks.
    """
    addresses = authz_addresses(config)
    if len(addresses) == 1:
        return {AUTHZ_CLUSTER: None}
    return {f"{AUTHZ_CLUSTER}_{index}": address for index, address in enumerate(addresses)}
