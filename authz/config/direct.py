"""The hosts of ``NO_PROXY``, which tools reach without the AI Gateway Proxy."""

from collections.abc import Iterable, Sequence

from authz.config.settings import Config

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def direct_hosts(config: Config) -> tuple[str, ...]:
    """Return the value of ``NO_PROXY``: this machine, the gateway itself, and ``proxy.no_proxy``.

    The gateway is in the list for tools that use a base URL in the same shell, because the proxy
    does not tunnel to private addresses.
    """
    more = config.proxy.no_proxy if config.proxy is not None else ()
    return tuple(dict.fromkeys((*_THIS_MACHINE, config.listen.for_clients.host, *more)))


def bypassed(entries: Sequence[str], hosts: Iterable[str]) -> list[tuple[int, str]]:
    """Return the index of each entry of ``NO_PROXY`` that matches a host, with the host.

    Some clients let an entry without a leading dot match subdomains; this function does too.
    """
    return [
        (index, host)
        for index, entry in enumerate(entries)
        for host in dict.fromkeys(hosts)
        if f".{host}".endswith(f".{entry.partition(':')[0].lstrip('.').lower()}")
    ]
