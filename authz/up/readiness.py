"""Check whether the pair is ready, with the requests that a client would send."""

from prometheus_client.parser import text_string_to_metric_families

from authz.config.settings import Config
from authz.up.http_client import send_request

_FINGERPRINT = "authz_config_hash"


def would_pass(config: Config) -> bool:
    """Return whether the listener accepts requests, authz is ready, and Envoy can reach authz.

    A request without a token shows the last: only authz answers it with 401.
    """
    try:
        return _status(config, "/readyz") == 200 and _status(config, "/") == 401
    except OSError:
        return False


def served_fingerprint(config: Config) -> float | None:
    """Return the fingerprint of the configuration that authz serves.

    None if authz does not respond, or if its workers do not serve the same configuration yet.

    Args:
        config: has the address of authz's metrics.
    """
    try:
        text = send_request("GET", config.authz.http.for_clients, "/metrics").text
    except OSError:
        return None
    return parse_fingerprint(text)


def parse_fingerprint(text: str) -> float | None:
    """Return the fingerprint in Prometheus text, which has a sample for each worker.

    None if there is no sample, if the samples differ, or if the text is not Prometheus text.
    """
    try:
        values = {
            sample.value
            for family in text_string_to_metric_families(text)
            if family.name == _FINGERPRINT
            for sample in family.samples
        }
    except ValueError:
        return None
    return values.pop() if len(values) == 1 else None


def _status(config: Config, path: str) -> int:
    tls = config.tls is not None
    return send_request("GET", config.listen.for_clients, path, tls=tls).status
