"""The transports between Envoy and authz, as settings; ``AUTHZ_TRANSPORT`` picks one for the pairs.

``AUTHZ_TRANSPORT=grpcio-tls pytest tests/conformance`` runs that folder over another one.
"""

import os
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority
from tests.support.pair import free_port

TRANSPORTS = ("http2", "grpcio", "http2-tls", "grpcio-tls")
"""The names of the servers; ``-tls`` is TCP with mutual TLS instead of a Unix socket."""


def transport_settings(folder: Path, transport: str | None = None) -> dict[str, Any]:
    """Return the ``authz`` section of ``gateway.yaml`` for a transport.

    Args:
        folder: for certificates.
        transport: one of ``TRANSPORTS``; None asks ``AUTHZ_TRANSPORT``, whose default is the first.
    """
    name = transport or os.environ.get("AUTHZ_TRANSPORT") or TRANSPORTS[0]
    assert name in TRANSPORTS, f"AUTHZ_TRANSPORT must be one of {', '.join(TRANSPORTS)}"
    server, _, tls = name.partition("-")
    settings: dict[str, Any] = {
        "grpc": "unix:./authz.sock",
        "http": f"127.0.0.1:{free_port()}",
        "transport": server,
    }
    if tls:
        authority = Authority(folder, f"{name}-ca")
        cert_file, key_file = authority.issue()
        settings["grpc"] = f"127.0.0.1:{free_port()}"
        settings["tls"] = {
            "cert_file": str(cert_file),
            "key_file": str(key_file),
            "ca_file": str(authority.ca_file),
        }
    return settings
