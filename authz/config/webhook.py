"""Settings of a webhook, and the key that signs what it gets."""

import base64
import binascii
from collections.abc import Mapping
from typing import Self

from pydantic import model_validator

from authz.config.fields import FilePath, Section, Url
from authz.config.key_reference import KeyReference
from authz.keys.sources import CentralKey
from authz.secret import Secret

MIN_SECRET = 24
"""The least characters of a secret; Standard Webhooks asks for 24 random bytes."""
_PREFIX = "whsec_"


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
        if self.url.is_in_clear:
            raise ValueError("url: must begin with https://, because notices name people")
        if self.ca_file is not None and not self.url.tls:
            raise ValueError("ca_file: needs url to begin with https://")
        if self.secret.is_obtained:
            raise ValueError("secret: must be {env: NAME} or {file: PATH}")
        return self

    def open_secret(self, environ: Mapping[str, str]) -> CentralKey:
        """Return the place of the secret, which is read again when its file is replaced.

        Raises:
            OSError: the file can't be read.
            ValueError: the secret is missing or can't be one; the message does not show it.
        """
        place = self.secret.open(environ)
        secret = place.current()
        if secret is None:
            raise ValueError(f"${self.secret.env} is not set")
        signing_key(secret)
        return place


def signing_key(secret: Secret) -> bytes:
    """Return the bytes of a secret: decoded from base64 after ``whsec_``, else those of the text.

    Raises:
        ValueError: the secret is too short, or not base64; the message does not show it.
    """
    text = secret.reveal()
    if len(text) < MIN_SECRET:
        raise ValueError(f"must have at least {MIN_SECRET} characters")
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"must be base64 after {_PREFIX}") from None
