"""Extensions that ``envoy-data-plane`` does not know the fields of, as JSON-like values."""

from dataclasses import dataclass
from typing import Any as Anything

import betterproto2
from envoy_data_plane.google.protobuf import Any, Struct
from envoy_data_plane.message_pool import default_message_pool

from authz.envoy.packing import packed, struct

_TYPE_PREFIX = "type.googleapis.com/"


@dataclass(eq=False, repr=False)
class TypedStruct(betterproto2.Message):
    """``xds.type.v3.TypedStruct``: Envoy makes the message that ``type_url`` names of ``value``."""

    type_url: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: Struct | None = betterproto2.field(  # noqa: RUF009 - how betterproto2 declares fields
        2, betterproto2.TYPE_MESSAGE, optional=True
    )


default_message_pool.register_message("xds.type.v3", "TypedStruct", TypedStruct)


def typed_struct(type_name: str, values: dict[str, Anything]) -> Any:
    """Wrap an extension's configuration in the ``Any`` that Envoy expects.

    Args:
        type_name: the full name of its message.
        values: its fields.
    """
    return packed(TypedStruct(type_url=_TYPE_PREFIX + type_name, value=struct(values)))
