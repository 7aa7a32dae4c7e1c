"""The file ``gateway.yaml``: its values, and the line of each value."""

import re
from pathlib import Path
from typing import Any

import yaml

from authz.errors import ConfigError
from authz.secret import mask

Location = tuple[str | int, ...]
"""The path of a value: keys, and indices of lists."""

_PLAIN_NAME = re.compile(r"[A-Za-z_]+|.{1,19}")
_PATH = re.compile(r"[a-z_]+(?:\.[a-z_]+|\[\d+\])*(?=: )")
_QUOTED = re.compile(r"'([^']+)'")
_STEP = re.compile(r"([a-z_]+)|\[(\d+)\]")


class ConfigFile:
    """The values of a file.

    Args:
        path: of the file; None if there is no file.
        values: the content of the file.
        root: the file's YAML nodes, which have the line numbers.
        twice: the keys that appear twice in one mapping, each with its line.
    """

    def __init__(
        self,
        path: Path | None = None,
        values: dict[str, Any] | None = None,
        root: yaml.Node | None = None,
        twice: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.path = path
        self.values = values or {}
        self.twice = twice
        self._root = root

    def place(self, location: Location) -> str:
        """Return ``file:line: `` for a value or the nearest one around it, or ``file: ``."""
        if self.path is None:
            return ""
        line = self.line(location)
        return f"{self.path}:{line}: " if line else f"{self.path}: "

    def line(self, location: Location) -> int:
        """Return the line of a value, or 0 if the file does not have it."""
        node, line = self._root, 0
        for step in location:
            mark, node = _inside(node, step)
            if mark is None:
                break
            line = mark.line + 1
        return line


def read_file(path: Path | None) -> ConfigFile:
    """Read a file.

    Args:
        path: None means no file.

    Raises:
        ConfigError: the file can't be read, or is not a mapping in YAML.
    """
    if path is None:
        return ConfigFile()
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        try:
            root = loader.get_single_node()
            values = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError([f"{path}{line}: {_syntax(error.problem)}"]) from None
    except yaml.YAMLError:
        raise ConfigError([f"{path}: is not YAML"]) from None
    if values is None:
        return ConfigFile(path)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError([f"{path}: must be a mapping of keys to values"])
    return ConfigFile(path, values, root, tuple(loader.twice))


def shown(key: str | int) -> str:
    """Return a key's name, masked if it may be a secret that was written as ``{secret}``."""
    name = str(key)
    return name if _PLAIN_NAME.fullmatch(name) else mask(name)


def written(location: Location) -> str:
    """Return a location in the form of error messages: ``providers[0].key``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if text else shown(step)
    return text


def location_of(message: str) -> Location:
    """Return the location at the start of a message such as ``tls.cert_file: is missing``."""
    match = _PATH.match(message)
    steps = _STEP.findall(match[0]) if match else []
    return tuple(name or int(index) for name, index in steps)


def _syntax(problem: str | None) -> str:
    """Return PyYAML's message, masked, because it may quote a key that begins with ``*``."""
    if not problem:
        return "is not YAML"
    text = _QUOTED.sub(lambda match: f"'{shown(match[1])}'", problem)
    cure = ": indent with spaces" if r"'\t'" in text else ""
    return f"{text}{cure}; fix this to see further problems"


def _inside(node: yaml.Node | None, step: str | int) -> tuple[Any, yaml.Node | None]:
    """Return the mark of a value's key, and the node of the value, in another node."""
    if isinstance(node, yaml.MappingNode):
        # The keys of a merged mapping come first, and later ones override them.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return key.start_mark, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return None, None


class _Loader(yaml.SafeLoader):
    """A YAML loader that records keys that appear twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.twice: list[tuple[str, int]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # PyYAML reports it
            if key.value in seen:
                self.twice.append((key.value, key.start_mark.line + 1))
            seen.add(key.value)
        return super().construct_mapping(node, deep)
