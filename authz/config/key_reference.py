"""References to central keys in ``gateway.yaml``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    SerializerFunctionWrapHandler,
    StrictStr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from authz.config.fields import Section
from authz.keys.sources import CentralKey, EnvKey, FileKey

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class KeyReference(Section):
    """The place of a central key: either an environment variable or a file.

    Attributes:
        env: name of the environment variable.
        file: path of the file. authz reads it again when it is replaced.
    """

    env: StrictStr | None = None
    file: Path | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> Any:
        return "none" if self.is_none else write(self)

    @property
    def is_none(self) -> bool:
        """True if the provider takes no key."""
        return isinstance(self, _NoKey)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("must be {env: NAME} or {file: PATH}")
        if self.env is not None and _VARIABLE.fullmatch(self.env) is None:
            raise ValueError("env must be the name of an environment variable, not a key")
        return self

    def open(self, environ: Mapping[str, str]) -> CentralKey:
        """Return the key.

        Raises:
            OSError: the file can't be read.
            ValueError: the content of the variable or file can't be a key.
        """
        if self.file is not None:
            return FileKey(self.file)
        return EnvKey(self.env or "", environ)


class _NoKey(KeyReference):
    """The word ``none`` instead of a key, for a provider that takes no credential."""


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    return _NoKey.model_construct() if value == "none" else read(value)


KeyOrNone = Annotated[
    KeyReference | None,
    WrapValidator(_or_none, json_schema_input_type=KeyReference | Literal["none"] | None),
]
"""A key, the word ``none``, or nothing at all."""
