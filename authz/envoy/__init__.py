"""Envoy's configuration as typed objects, in the order a request meets its parts.

Importing the typed objects takes half a second, so nothing that serves requests imports from here.

The objects are those of ``envoy-data-plane``, which are pydantic's dataclasses. Building their
validators takes more than a second of every start, and Envoy itself validates what comes out, so
they are made plain dataclasses while they are imported.
"""

import dataclasses
from typing import Any

import pydantic.dataclasses

_pydantic_dataclass: Any = pydantic.dataclasses.dataclass


def _dataclass(cls: type[Any] | None = None, **options: Any) -> Any:
    if cls is None:
        return lambda decorated: _dataclass(decorated, **options)
    if not cls.__module__.startswith("envoy_data_plane."):
        return _pydantic_dataclass(cls, **options)
    options.pop("config", None)
    return dataclasses.dataclass(**options)(cls)


pydantic.dataclasses.dataclass = _dataclass  # type: ignore[assignment]
