"""References to central keys in ``gateway.yaml``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StrictStr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from authz.config.fields import Seconds, Section
from authz.core import tokens
from authz.keys.sources import CentralKey, EnvKey, FileKey

REFRESH_SECONDS = 900.0
TIMEOUT_SECONDS = 10.0
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class KeyReference(Section):
    """The place of a central key: an environment variable, a file, or a command that prints it.

    Attributes:
        env: name of the environment variable.
        file: path of the file. authz reads it again when it is replaced.
        exec: a command that prints the key, as a list of the program and its arguments. No shell
            reads it (docs/secrets.md).
        refresh: how often the command runs, from ``10s`` on. Unset means ``15m``.
        timeout: how long the command may take, up to ``60s``. Unset means ``10s``.
        pass_env: names of environment variables that the command gets in addition to ``HOME``,
            ``LANG``, ``PATH`` and ``TZ``.
    """

    env: StrictStr | None = None
    file: Path | None = None
    exec: Annotated[tuple[StrictStr, ...], Field(min_length=1, max_length=64)] | None = None
    refresh: Annotated[Seconds, Field(ge=10)] | None = None
    timeout: Annotated[Seconds, Field(ge=0.1, le=60)] | None = None
    pass_env: Annotated[tuple[StrictStr, ...], Field(max_length=64)] | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> Any:
        return "none" if self.is_none else write(self)

    @property
    def is_none(self) -> bool:
        """True if the provider takes no key."""
        return isinstance(self, _NoKey)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.env, self.file, self.exec].count(None) != 2:
            raise ValueError("must be {env: NAME}, {file: PATH} or {exec: [COMMAND, …]}")
        if self.env is not None and _VARIABLE.fullmatch(self.env) is None:
            raise ValueError("env must be the name of an environment variable, not a key")
        return self

    @model_validator(mode="after")
    def _command(self) -> Self:
        if self.exec is None:
            for name in ("refresh", "timeout", "pass_env"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: needs exec")
            return self
        if not self.exec[0] or any("\0" in argument for argument in self.exec):
            raise ValueError("exec: must begin with a program and have no zero byte")
        if any(tokens.holds_token(argument) for argument in self.exec):
            # Every user of the machine can list the arguments.
            raise ValueError("exec: must not contain a Coder token")
        for name in self.pass_env or ():
            if _VARIABLE.fullmatch(name) is None:
                raise ValueError("pass_env: must be names of environment variables, not values")
        return self

    @property
    def place(self) -> str:
        """The place for a person: ``$NAME``, a path or ``command``."""
        if self.exec is not None:
            return "command"
        return f"${self.env}" if self.env else str(self.file)

    def open(self, environ: Mapping[str, str]) -> CentralKey:
        """Return the key; a command runs for it, unless this process has its key already.

        Raises:
            OSError: the file can't be read.
            ValueError: the content of the variable or file can't be a key, or the command fails.
        """
        if self.exec is not None:
            # Imported late, because most gateways have no command.
            from authz.keys.command import Command
            from authz.keys.exec_key import open_exec_key

            refresh, timeout = self.refresh or REFRESH_SECONDS, self.timeout or TIMEOUT_SECONDS
            command = Command(self.exec, refresh, timeout, self.pass_env or ())
            return open_exec_key(command, environ)
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
