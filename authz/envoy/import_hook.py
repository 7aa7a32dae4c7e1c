"""Import the typed objects of ``envoy-data-plane`` as plain dataclasses.

They are pydantic's dataclasses. Building their validators takes more than a second of every start,
and Envoy itself validates the configuration. The hook touches no other package: it replaces
pydantic's decorator only while Python executes a module of ``envoy-data-plane``.

``betterproto2`` evaluates a message's annotations each time that it needs the type of a field,
which takes a third of the time to render. The hook lets Envoy's messages evaluate them once.
"""

import contextlib
import dataclasses
import functools
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pydantic.dataclasses
from pydantic.warnings import PydanticDeprecatedSince212

_PACKAGE = "envoy_data_plane"


@contextlib.contextmanager
def _plain_dataclasses() -> Iterator[None]:
    replaced: Any = pydantic.dataclasses.dataclass

    def dataclass(cls: type[Any] | None = None, **options: Any) -> Any:
        if cls is None:
            return lambda decorated: dataclass(decorated, **options)
        # A module of another package may be imported meanwhile.
        if cls.__module__.partition(".")[0] != _PACKAGE:
            return replaced(cls, **options)
        options.pop("config", None)
        plain = dataclasses.dataclass(**options)(cls)
        evaluate: Any = functools.cache(plain._type_hints.__func__)
        plain._type_hints = classmethod(evaluate)
        return plain

    pydantic.dataclasses.dataclass = dataclass  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            # Its generated code uses a form of validator that pydantic wants replaced.
            warnings.simplefilter("ignore", PydanticDeprecatedSince212)
            yield
    finally:
        pydantic.dataclasses.dataclass = replaced


class _Loader(importlib.machinery.SourceFileLoader):
    """Execute a module with pydantic's dataclasses made plain ones."""

    def exec_module(self, module: ModuleType) -> None:
        with _plain_dataclasses():
            super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Find the modules of ``envoy-data-plane``, and leave all others to the finders after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != _PACKAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Put the finder before all others, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
