"""Settings of a webhook."""

from typing import Self

from pydantic import model_validator

from authz.addresses import TcpAddress
from authz.config.fields import FilePath, Section, Url
from authz.config.key_reference import KeyReference


class Webhook(Section):
    """The receiver of notices.

    Attributes:
        url: URL that gets a POST for each notice. It must begin with ``https://`` unless the
            receiver is on this machine.
        secret: the place of the secret that signs each notice: ``env`` or ``file``, at least 24
            characters.
        ca_file: PEM file with a private CA of the receiver. Unset means the system's trusted roots.
    """

    url: Url
    secret: KeyReference
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.url.tls and not TcpAddress(self.url.host, self.url.port).is_loopback:
            raise ValueError("url: must begin with https://, because notices name people")
        if self.ca_file is not None and not self.url.tls:
            raise ValueError("ca_file: needs url to begin with https://")
        if self.secret.exec is not None:
            raise ValueError("secret: must be {env: NAME} or {file: PATH}")
        return self
