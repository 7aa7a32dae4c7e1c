"""Settings of provider keys that users store."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from authz.config.fields import Section
from authz.config.key_reference import StoredSecret


class OwnKeys(Section):
    """Provider keys that users store, for clients that can send one credential only.

    Attributes:
        keys: the master keys, each 32 random bytes in base64. The first one encrypts; the further
            ones only decrypt, until ``authz own-keys rotate`` has encrypted everything again.
    """

    keys: Annotated[tuple[StoredSecret, ...], Field(min_length=1, max_length=5)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for index, reference in enumerate(self.keys):
            if reference in self.keys[:index]:
                raise ValueError(f"keys[{index}]: appears twice")
        return self
