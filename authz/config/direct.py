"""The hosts that tools reach without the AI Gateway Proxy."""

from collections.abc import Iterable, Sequence

from authz.config.settings import Config

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def direct_hosts(config: Config) -> tuple[str, ...]:
    """Return the value of ``NO_PROXY``: this machine, the gateway itself, and ``proxy.no_proxy``.

    The gateway is among them for tools that use a base URL in the same shell: the proxy tunnels to
    no private address.
    """
    more = config.proxy.no_proxy if config.proxy is not None else ()
    return tuple(dict.fromkeys((*_THIS_MACHINE, config.listen.for_clients.host, *more)))


def bypassed(entries: Sequence[str], hosts: Iterable[str]) -> list[tuple[int, str]]:
    """Return the index of each entry of ``NO_PROXY`` that matches a host, with the host.

    Clients differ in whether an entry without a dot in front matches subdomains; here it does.
    """
    return [
        (index, host)
        for index, entry in enumerate(entries)
        for host in dict.fromkeys(hosts)
        if f".{host}".endswith(f".{entry.partition(':')[0].lstrip('.').lower()}")
    ]
