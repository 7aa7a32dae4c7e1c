"""The ``proxy`` section of ``gateway.yaml``."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, IPvAnyNetwork, StrictBool, StrictStr, model_validator

from authz.addresses import TcpAddress
from authz.config.fields import FilePath, Section, Tcp, Tls, Url

_DOMAIN = re.compile(r"\.?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*(:[0-9]{1,5})?")


def _direct(text: str) -> str:
    """Check an entry of ``NO_PROXY``, which goes into a line for a shell."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        if len(text) > 253 or _DOMAIN.fullmatch(text) is None:
            raise ValueError(
                "must be a host, a domain such as .example.com, an IP address or a network"
            ) from None
    return text


class CaFiles(Section):
    """Files of the proxy's certificate authority; ``authz proxy ca`` creates them.

    Attributes:
        cert_file: PEM file with the CA certificate.
        key_file: PEM file with the CA's private key.
    """

    cert_file: FilePath = Path(".authz/ca.pem")
    key_file: FilePath = Path(".authz/ca-key.pem")


class Proxy(Section):
    """The AI Gateway Proxy, for tools that take no base URL.

    Attributes:
        listen: address of the proxy.
        ca: the certificate authority that signs the certificates for the providers' hosts.
        tls: certificate of the proxy itself. Unset means that clients connect without TLS.
        tunnel: whether the proxy tunnels to other hosts, without decrypting the connections.
        allowed_private_cidrs: private networks that a tunnel may reach; others are refused.
        upstream_proxy: URL of the company's proxy, as ``http://host:port``, for tunnels and
            providers.
        no_proxy: more hosts that tools reach without the proxy; they go into ``NO_PROXY``.
    """

    listen: Tcp = TcpAddress("127.0.0.1", 8888)
    ca: CaFiles = CaFiles()
    tls: Tls | None = None
    tunnel: StrictBool = True
    allowed_private_cidrs: tuple[IPvAnyNetwork, ...] = ()
    upstream_proxy: Url | None = None
    no_proxy: tuple[Annotated[StrictStr, AfterValidator(_direct)], ...] = ()

    @model_validator(mode="after")
    def _plain_upstream_proxy(self) -> Self:
        url = self.upstream_proxy
        if url is not None and (url.tls or url.path != "/"):
            raise ValueError("upstream_proxy: must be http://host:port")
        if url is not None and self.allowed_private_cidrs:
            raise ValueError(
                "allowed_private_cidrs: can't be combined with upstream_proxy, which decides "
                "where tunnels may go"
            )
        return self
