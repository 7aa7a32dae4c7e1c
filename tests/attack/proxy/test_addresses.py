"""Targets that no tunnel may reach: private addresses in every spelling, and provider hosts."""

import contextlib
import ipaddress
import socket
import time

import pytest

from tests.e2e.proxy.pairs import ALLOWED_ADDRESS, CLOSED_ADDRESS, HOSTS, Proxied, Tunnelled
from tests.support.pair import wait_until
from tests.support.raw import PATIENCE, Closed
from tests.support.tls import connect, credentials, trusting

BLOCKED = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT, Alibaba's metadata",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "Azure's metadata",
    "169.254.0.0/16": "link-local, metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments, Oracle's metadata",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarks",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved, broadcast",
    "::/96": "unspecified, loopback, IPv4-compatible",
    "::ffff:0:0/96": "IPv4-mapped",
    "64:ff9b::/96": "NAT64",
    "64:ff9b:1::/48": "local NAT64",
    "2001::/32": "Teredo",
    "2002::/16": "6to4",
    "fc00::/7": "unique local, AWS's metadata",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
"""A second copy of the blocked ranges, so that a range lost in authz makes a test fail."""


def _samples() -> list[str]:
    """Return the first and last address of each range, and famous ones."""
    found = {"169.254.169.254", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "::1"}
    for cidr in BLOCKED:
        network = ipaddress.ip_network(cidr)
        found |= {str(network[0]), str(network[-1])}
    found |= {"::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::a00:1"}
    found |= {"2002:7f00:1::", "2002:a00:1::"}
    return sorted(found)


def _status(proxy: Proxied, authority: str) -> int:
    return connect(proxy.port, authority, credentials(proxy.token)).status


@pytest.mark.parametrize("address", _samples())
def test_private_address(tunnelled: Tunnelled, address: str) -> None:
    """A private address is refused as an address and behind a name."""
    number = address.replace(":", "-").replace(".", "-")
    name = f"private-{number}.test"
    tunnelled.names.set(name, [address])
    literal = f"[{address}]" if ":" in address else address
    for host in (literal, name):
        for port in (80, 443):
            answer = connect(tunnelled.port, f"{host}:{port}", credentials(tunnelled.token))
            assert answer.status == 403, host
    assert answer.error["code"] == "private_address"
    assert address.encode() not in answer.body


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.000.000.001",
        "0",
        "0.0",
        "00.0.0.0",
        "127.0.0.1.",
        "127.1.",
        "10.1",
        "3232235521",
        "0xa9fea9fe",
        "2852039166",
        "169.254.43518",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "::1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "Localhost..",
        "ip6-localhost",
    ],
)
def test_spellings_of_this_machine(tunnelled: Tunnelled, host: str) -> None:
    """Numbers, brackets and names that mean this machine reach no server on it."""
    assert tunnelled.forbidden is not None
    before = tunnelled.forbidden.connections
    for port in (443, tunnelled.forbidden.port):
        with contextlib.suppress(Closed):
            # 502: a name that the tests' name server does not know.
            assert _status(tunnelled, f"{host}:{port}") in (400, 403, 404, 502)
    assert tunnelled.forbidden.connections == before


@pytest.mark.parametrize("bad", ["127.0.0.1", "::ffff:127.0.0.1", "::1"])
@pytest.mark.parametrize("other", [CLOSED_ADDRESS, "127.0.0.3", "10.0.0.1"])
@pytest.mark.parametrize("turned", [False, True])
def test_mixed_addresses(tunnelled: Tunnelled, bad: str, other: str, turned: bool) -> None:
    """A name with a harmless address and a forbidden one never leads to the forbidden one."""
    assert tunnelled.forbidden is not None
    before = tunnelled.forbidden.connections
    addresses = [other, bad] if turned else [bad, other]
    name = f"{other}-{bad}-{turned}.mixed".replace(":", "x")
    tunnelled.names.set(name, addresses)
    # Nobody listens at the one that is allowed; then Envoy tries the next.
    assert _status(tunnelled, f"{name}:{tunnelled.forbidden.port}") in (403, 502)
    assert tunnelled.forbidden.connections == before


def _settled(tunnelled: Tunnelled) -> int:
    """Count the origin's connections, behind one of our own: they are accepted in their order."""
    assert tunnelled.origin is not None
    context = trusting(tunnelled.origin_ca)
    with socket.create_connection((ALLOWED_ADDRESS, tunnelled.origin.port), PATIENCE) as plain:
        # A handshake shows that it was accepted, and those before it.
        context.wrap_socket(plain, server_hostname=ALLOWED_ADDRESS).close()
    return tunnelled.origin.connections


def test_rebinding(tunnelled: Tunnelled) -> None:
    """A name whose address flips from an allowed to a forbidden one never leads there."""
    assert tunnelled.forbidden is not None
    assert tunnelled.origin is not None
    port = tunnelled.origin.port
    before = tunnelled.forbidden.connections
    good, bad = [ALLOWED_ADDRESS], ["127.0.0.1"]
    tunnelled.names.set("flip.test", *([good, bad] * 50))
    tunnelled.names.set("flop.test", *([bad, good] * 50))
    tunnelled.names.set("both.test", *([[*good, *bad], [*bad, *good], bad] * 50))
    statuses = set()
    # Envoy asks again each second here; on a busy machine that may be later.
    began = time.monotonic()

    def has_flipped() -> bool:
        return 200 in statuses and tunnelled.names.asked.count("flip.test") > 2

    while (took := time.monotonic() - began) < 4 or (not has_flipped() and took < 30):
        for name in ("flip.test", "flop.test", "both.test"):
            statuses.add(_status(tunnelled, f"{name}:{port}"))
    assert 200 in statuses
    assert statuses <= {200, 403, 502}
    assert tunnelled.forbidden.connections == before
    assert tunnelled.names.asked.count("flip.test") > 2


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
@pytest.mark.parametrize(
    "spelling",
    [
        "{host}.",
        "{host}..",
        "{upper}",
        "{title}",
        "{upper}.",
        "{host}:443",
        "x@{host}",
        "{host}%00",
        "{host}%2e",
        "{escaped}",
        "{decimal}",
        "{host}\\.",
        "{host}/",
        "{host}?",
        "{host}#",
        " {host}",
        "{host} ",
        "\t{host}",
        "[{host}]",
        "{host}\u3002",
        "{wide}",
        "*.{host}",
    ],
)
def test_provider_is_never_tunnelled(tunnelled: Tunnelled, provider: str, spelling: str) -> None:
    """A provider's host in any spelling is intercepted or refused, and never tunnelled."""
    assert tunnelled.origin is not None
    host = HOSTS[provider]
    written = spelling.format(
        host=host,
        upper=host.upper(),
        title=host.title(),
        escaped=host.replace(".", "%2E"),
        decimal=f"\\{ord(host[0]):03}{host[1:]}",
        wide=chr(ord(host[0]) + 0xFEE0) + host[1:],
    )
    # Were it tunnelled, it would meet our origin.
    tunnelled.names.set(host, [ALLOWED_ADDRESS])
    before = _settled(tunnelled)
    for port in (443, 80, tunnelled.origin.port):
        try:
            answer = connect(
                tunnelled.port, f"{written}:{port}".encode(), credentials(tunnelled.token)
            )
        except Closed:
            continue
        if answer.status == 200:
            assert port != tunnelled.origin.port
            continue
        assert answer.status in (400, 403, 404)
    assert _settled(tunnelled) == before + 1


@pytest.mark.parametrize(
    "host", [HOSTS["openai"].upper(), f"{HOSTS['openai']}.", f"{HOSTS['openai'].title()}."]
)
def test_provider_in_another_spelling_is_intercepted(tunnelled: Tunnelled, host: str) -> None:
    """Upper case and a trailing dot mean the same host, and the access log shows it intercepted."""
    tunnelled.names.set(HOSTS["openai"], [ALLOWED_ADDRESS])
    assert _status(tunnelled, f"{host}:443") == 200
    path = f"{host.rstrip('.')}:443"
    wait_until(lambda: f'"{path}"' in tunnelled.pair.stdout, 5, "the access log line")
    routes = {line["route"] for line in tunnelled.log() if line["path"] == path}
    assert routes == {"intercept"}
