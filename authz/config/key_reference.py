"""References to central keys in ``gateway.yaml``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    StrictStr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from authz.config.fields import Seconds, Section
from authz.config.workload import Workload
from authz.core import tokens
from authz.keys.sources import CentralKey, EnvKey, FileKey

if TYPE_CHECKING:
    from authz.keys.command import Origin

REFRESH_SECONDS = 900.0
EXCHANGE_SECONDS = 240.0
"""Some vendors' credentials are valid for ten minutes only."""
TIMEOUT_SECONDS = 10.0
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class KeyReference(Section):
    """The place of a central key: a variable, a file, a command, or the identity of this workload.

    Attributes:
        env: name of the environment variable.
        file: path of the file. authz reads it again when it is replaced.
        exec: a command that prints the key, as a list of the program and its arguments. No shell
            reads it (docs/secrets.md).
        workload: the identity for which the provider gives a short-lived credential
            (docs/workload-identity.md).
        refresh: how often the command runs, from ``10s`` on, or the credential is asked for.
            Unset means ``15m`` for a command and ``4m`` for a workload.
        timeout: how long that may take, up to ``60s``. Unset means ``10s``.
        pass_env: names of environment variables that the command gets in addition to ``HOME``,
            ``LANG``, ``PATH`` and ``TZ``.
    """

    env: StrictStr | None = None
    file: Path | None = None
    exec: Annotated[tuple[StrictStr, ...], Field(min_length=1, max_length=64)] | None = None
    workload: Workload | None = None
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
        if [self.env, self.file, self.exec, self.workload].count(None) != 3:
            raise ValueError(
                "must be {env: NAME}, {file: PATH}, {exec: [COMMAND, …]} or {workload: {type: …}}"
            )
        if self.env is not None and _VARIABLE.fullmatch(self.env) is None:
            raise ValueError("env must be the name of an environment variable, not a key")
        return self

    @model_validator(mode="after")
    def _command(self) -> Self:
        if self.exec is None:
            needs = {"refresh": "exec or workload", "timeout": "exec or workload"}
            for name in ("refresh", "timeout", "pass_env"):
                may = self.workload is not None and name in needs
                if getattr(self, name) is not None and not may:
                    raise ValueError(f"{name}: needs {needs.get(name, 'exec')}")
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
        """The place for a person: ``$NAME``, a path, ``command`` or ``workload identity``."""
        if self.exec is not None:
            return "command"
        if self.workload is not None:
            return "workload identity"
        return f"${self.env}" if self.env else str(self.file)

    @property
    def is_obtained(self) -> bool:
        """True if authz gets the key itself and again, by a command or a token exchange."""
        return self.exec is not None or self.workload is not None

    def open(self, environ: Mapping[str, str]) -> CentralKey:
        """Return the key. It is obtained, unless this process has it already.

        Raises:
            OSError: the file can't be read.
            ValueError: the content of the variable or file can't be a key, or the command or the
                exchange fails.
        """
        if self.is_obtained:
            # Imported late, because most gateways have no such key.
            from authz.keys.exec_key import open_exec_key

            return open_exec_key(self._origin, environ)
        if self.file is not None:
            return FileKey(self.file)
        return EnvKey(self.env or "", environ)

    @property
    def _origin(self) -> "Origin":
        timeout = self.timeout or TIMEOUT_SECONDS
        if self.workload is not None:
            return self.workload.exchange(self.refresh or EXCHANGE_SECONDS, timeout)
        from authz.keys.command import Command

        refresh = self.refresh or REFRESH_SECONDS
        return Command(self.exec or (), refresh, timeout, self.pass_env or ())


class _NoKey(KeyReference):
    """The word ``none`` instead of a key, for a provider that takes no credential."""


def _stored(reference: KeyReference) -> KeyReference:
    if reference.workload is not None:
        raise ValueError("workload: gives credentials of providers only; use env, file or exec")
    return reference


StoredSecret = Annotated[KeyReference, AfterValidator(_stored)]
"""The place of a secret that is not a provider's."""


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    return _NoKey.model_construct() if value == "none" else read(value)


KeyOrNone = Annotated[
    KeyReference | None,
    WrapValidator(_or_none, json_schema_input_type=KeyReference | Literal["none"] | None),
]
"""A key, the word ``none``, or nothing at all."""
