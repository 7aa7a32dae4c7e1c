"""Reading ``gateway.yaml``, environment and flags into one frozen object, validated whole."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from authz.errors import ConfigError
from authz.key_pool import KeyPool
from authz.keys import CentralKey
from authz.secret import mask
from authz.settings import Config

DEFAULT_FILE = Path("gateway.yaml")
_PLAIN_NAME = re.compile(r"[A-Za-z_]+|.{1,19}")
ALLOW_BYOK_VARIABLES = ("CODER_AI_GATEWAY_ALLOW_BYOK", "CODER_AIBRIDGE_ALLOW_BYOK")


def load(
    path: Path | None = None,
    *,
    allow_byok: bool | None = None,
    keys: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Read the configuration: flag over environment over file over default.

    Args:
        path: the file; None means ``$AUTHZ_CONFIG``, else ``./gateway.yaml`` where it exists,
            else the embedded defaults.
        allow_byok: the flag, where it was given.
        keys: whether the central keys are looked at, too; where none is used, none is read.
        environ: the environment.

    Raises:
        ConfigError: every problem, one line each with the key's path.
    """
    problems: list[str] = []
    values = _read_file(path or _found_file(environ))
    if allow_byok is None:
        allow_byok = _allow_byok_from(environ, problems)
    if allow_byok is not None:
        values = {**values, "allow_byok": allow_byok}
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems + [_line(detail) for detail in error.errors()]) from None
    if keys:
        open_pools(config, environ, problems)
    if problems:
        raise ConfigError(problems)
    return config


def open_pools(
    config: Config, environ: Mapping[str, str] = os.environ, problems: list[str] | None = None
) -> dict[str, KeyPool]:
    """Open the central keys of every provider that names any.

    Args:
        problems: where to add what is wrong; None raises it.

    Raises:
        ConfigError: a key can't be read, and ``problems`` is None.
    """
    found: list[str] = [] if problems is None else problems
    pools = {}
    for index, provider in enumerate(config.providers):
        keys: list[CentralKey] = []
        for name, reference in provider.key_references:
            where = f"providers[{index}].{name}"
            try:
                key = reference.open(environ)
            except OSError as error:
                found.append(f"{where}.file: {reference.file}: {error.strerror}")
                continue
            except ValueError as error:
                found.append(f"{where}: {error}")
                continue
            value = key.current()
            if value is not None and any(value == other.current() for other in keys):
                found.append(f"{where}: holds the same key as another one before it")
            keys.append(key)
        if keys:
            pools[provider.name] = KeyPool(provider.name, keys, rests=bool(provider.keys))
    if problems is None and found:
        raise ConfigError(found)
    return pools


def parse_bool(text: str) -> bool:
    """Read a boolean as Go's ``strconv.ParseBool`` does, which ``coder server`` uses.

    Raises:
        ValueError: it is none.
    """
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError("must be true or false")


def _allow_byok_from(environ: Mapping[str, str], problems: list[str]) -> bool | None:
    given: dict[str, bool] = {}
    for name in ALLOW_BYOK_VARIABLES:
        if environ.get(name):
            try:
                given[name] = parse_bool(environ[name])
            except ValueError as error:
                problems.append(f"${name}: {error}")
    if len(set(given.values())) > 1:
        problems.append(f"${' and $'.join(given)}: say different things")
    return next(iter(given.values()), None)


def _found_file(environ: Mapping[str, str]) -> Path | None:
    if environ.get("AUTHZ_CONFIG"):
        return Path(environ["AUTHZ_CONFIG"])
    # A link to nowhere is a file that can't be read, not one that nobody wrote.
    return DEFAULT_FILE if DEFAULT_FILE.is_symlink() or DEFAULT_FILE.exists() else None


class _Loader(yaml.SafeLoader):
    """YAML without the silent loss of a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # PyYAML says what is wrong with it
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {_shown(key.value)!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - is a SafeLoader
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError([f"{path}{line}: {error.problem or 'is not YAML'}"]) from None
    except yaml.YAMLError:
        raise ConfigError([f"{path}: is not YAML"]) from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError([f"{path}: must be a mapping of keys to values"])
    return values


def _shown(key: Any) -> str:
    """Return a key's name, masked where it may be a secret that was written as ``{secret}``."""
    name = str(key)
    return name if _PLAIN_NAME.fullmatch(name) else mask(name)


def _line(detail: Any) -> str:
    path = ""
    for part in detail["loc"]:
        path += (
            f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" if path else _shown(part)
        )
    message = {
        "extra_forbidden": "unknown key",
        "missing": "is required",
        "bool_type": "must be true or false",
        "int_type": "must be a whole number",
        "string_type": "must be text",
        "model_type": "must be a mapping of keys to values",
    }.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    return f"{path}: {message}" if path else message
