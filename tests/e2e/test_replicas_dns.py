"""Replicas behind one host name, which come and go with its addresses."""

import signal

from tests.support.dns import NameServer
from tests.support.fleet import fleet
from tests.support.pair import Provider, wait_until

NAME = "authz.test"


def test_scaled_up_and_down(provider: Provider) -> None:
    """A new address is used once it is healthy, a removed one is not, and no request fails."""
    with NameServer() as dns, fleet(provider, 2, NAME) as running:
        dns.set(NAME, [running.hosts[0]])
        running.start_replica(0, wait=False)
        running.start_envoy(dns.port)
        running.wait_ready()
        load = running.load()
        with load.running():
            # Known before it listens, as a container in its start is.
            dns.set(NAME, running.hosts)
            wait_until(lambda: running.stats("cluster.authz.")["membership_total"] == 2, 10, "two")
            wait_until(lambda: running.healthy() == 1, 10, "one healthy replica")
            load.more(50)
            running.start_replica(1)
            load.more(50)
            dns.set(NAME, [running.hosts[1]])
            running.end_replica(0, signal.SIGTERM)
            wait_until(lambda: running.stats("cluster.authz.")["membership_total"] == 1, 10, "one")
            load.more(50)
        print(f"\nscaled up and down: {load.failed} of {load.total} requests failed")
        assert load.failed == {}
        # The certificate names the host, not its addresses.
        assert running.stats("cluster.authz.ssl.")["fail_verify_san"] == 0
