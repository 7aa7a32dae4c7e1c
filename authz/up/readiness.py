"""Whether a request would pass, asked as a client would ask."""

import http.client
import ssl

from authz.config.settings import Config


def would_pass(config: Config) -> bool:
    """Whether the listener is up, authz is ready, and Envoy can ask it.

    The last needs a request through ext_authz: without a token the right answer is 401.
    """
    try:
        return _status(config, "/readyz") == 200 and _status(config, "/") == 401
    except (OSError, http.client.HTTPException):
        return False


def served_fingerprint(config: Config) -> float | None:
    """Return the fingerprint of the configuration that authz serves.

    None where it can't be asked, or where its workers don't serve the same yet.

    Args:
        config: says where authz serves its metrics.
    """
    address = config.authz.http.for_clients
    connection = http.client.HTTPConnection(address.host, address.port, timeout=2)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    # One line for each worker.
    values = {
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("authz_config_hash")
    }
    return values.pop() if len(values) == 1 else None


def _status(config: Config, path: str) -> int:
    host = config.listen.for_clients.host
    connection: http.client.HTTPConnection
    if config.tls is None:
        connection = http.client.HTTPConnection(host, config.listen.port, timeout=2)
    else:
        # Our own listener, on this machine, asked for nothing but a status.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            host, config.listen.port, timeout=2, context=context
        )
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
