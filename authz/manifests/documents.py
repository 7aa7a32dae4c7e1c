"""Reads and writes Kubernetes manifests as YAML."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from authz.errors import AuthzError
from authz.printable import printable

Fields = dict[str, Any]
"""A mapping of a manifest."""

_MAX_DEPTH = 64
_MAX_BYTES = 4 << 20
_NAME_MAX = 200


class ManifestError(AuthzError):
    """A file has no manifests that can be read."""


@dataclass(frozen=True)
class Manifest:
    """One manifest of a file.

    Attributes:
        kind: such as ``HTTPRoute``; empty for a file without kinds, such as Helm's values.
        namespace: ``default`` if the manifest names none.
        file: where it was read.
        fields: the whole manifest.
    """

    kind: str
    namespace: str
    name: str
    file: str
    fields: Fields

    @property
    def spec(self) -> Fields:
        """The manifest's ``spec``; empty if it has none."""
        return mapping(self.fields.get("spec"))

    @property
    def place(self) -> str:
        """The file and the object, for a message."""
        shown = printable(f"{self.namespace}/{self.name}", _NAME_MAX)
        return f"{self.file}: {printable(self.kind, _NAME_MAX)} {shown}" if self.kind else self.file


class _Loader(yaml.SafeLoader):
    """Reads texts as Kubernetes does, and no aliases, with which a small file becomes huge."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported: write their content out")
        return super().compose_node(parent, index)


_TEXTS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
"""Kubernetes has no dates, and an equals sign is a text there."""
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _TEXTS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_manifests(files: Iterable[Path]) -> list[Manifest]:
    """Return the manifests of files; a list of manifests is taken apart.

    Raises:
        ManifestError: a file is not YAML, or is too large.
        OSError: a file can't be read.
    """
    return [manifest for file in files for manifest in parse(_text_of(file), str(file))]


def parse(text: str, file: str) -> list[Manifest]:
    """Return the manifests of a text; documents that are no mappings are left out.

    Args:
        text: YAML, with any number of documents.
        file: its name, for messages.

    Raises:
        ManifestError: the text is not YAML.
    """
    try:
        documents = list(yaml.load_all(text, _Loader))
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ManifestError(f"{file}: is not YAML{line}: {printable(str(error.problem))}") from None
    # A number or a date can be out of range.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"{file}: is not YAML: {printable(str(error), _NAME_MAX)}") from None
    return [manifest for document in documents for manifest in _manifests(document, file, 0)]


def write(documents: Sequence[tuple[str, Fields]]) -> str:
    """Return manifests as YAML, each after its comment.

    Args:
        documents: comments, which may be empty, and manifests.
    """
    parts = []
    for comment, fields in documents:
        lines = "".join(f"# {line}\n" for line in comment.splitlines())
        body = yaml.dump(fields, Dumper=_Dumper, sort_keys=False, width=100)
        parts.append(lines + body)
    return "---\n".join(parts)


class _Dumper(yaml.SafeDumper):
    """Writes what equal objects have in common out in full."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def mapping(value: object) -> Fields:
    """Return a value if it is a mapping, else an empty one."""
    return cast(Fields, value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Return a value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: object) -> list[Fields]:
    """Return the mappings of a list."""
    return [mapping(one) for one in items(value) if isinstance(one, dict)]


def texts(value: object) -> list[str]:
    """Return the texts of a list."""
    return [one for one in items(value) if isinstance(one, str)]


def at(fields: object, *keys: str) -> Any:
    """Return the value below some keys, or None."""
    for key in keys:
        fields = mapping(fields).get(key)
    return fields


def _text_of(file: Path) -> str:
    with file.open("rb") as opened:
        data = opened.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ManifestError(f"{file}: is larger than {_MAX_BYTES >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ManifestError(f"{file}: is not UTF-8") from None


def _manifests(document: object, file: str, depth: int) -> Iterator[Manifest]:
    if not isinstance(document, dict) or depth > _MAX_DEPTH:
        return
    kind = document.get("kind")
    if isinstance(kind, str) and kind.endswith("List") and "items" in document:
        for one in items(document["items"]):
            yield from _manifests(one, file, depth + 1)
        return
    metadata = mapping(document.get("metadata"))
    namespace, name = metadata.get("namespace"), metadata.get("name")
    yield Manifest(
        kind=kind if isinstance(kind, str) else "",
        namespace=namespace if isinstance(namespace, str) and namespace else "default",
        name=name if isinstance(name, str) else "",
        file=file,
        fields=document,
    )
