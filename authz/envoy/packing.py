"""Small helpers over ``envoy-data-plane``: Any, addresses, matchers, files."""

from datetime import timedelta
from pathlib import Path
from typing import Any as Anything

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Pipe,
    RuntimeFractionalPercent,
    SocketAddress,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    CheckSettings,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent
from envoy_data_plane.google.protobuf import Any, Struct
from envoy_data_plane.message_pool import default_message_pool

from authz import addresses


def packed(message: betterproto2.Message) -> Any:
    """Wrap an extension's configuration in the ``Any`` that Envoy expects."""
    return Any.pack(message, message_pool=default_message_pool)


def packed_context(facts: dict[str, str]) -> Any:
    """Return a route's facts for authz, as per-route configuration of the ext_authz filter."""
    return packed(ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions=facts)))


def extension(name: str, message: betterproto2.Message) -> TypedExtensionConfig:
    """Name an extension and wrap its configuration."""
    return TypedExtensionConfig(name=name, typed_config=packed(message))


def seconds(count: float) -> timedelta:
    """Return a duration of ``count`` seconds."""
    return timedelta(seconds=count)


def envoy_address(address: addresses.Address) -> Address:
    """Return an address of the configuration as Envoy writes it."""
    if isinstance(address, addresses.UnixAddress):
        return Address(pipe=Pipe(path=address.path))
    return socket_address(address.host, address.port)


def socket_address(host: str, port: int) -> Address:
    """Return a TCP address; ``localhost`` is made numeric, since a listener takes no names."""
    host = "127.0.0.1" if host == "localhost" else host
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def file_source(path: Path | str) -> DataSource:
    """Return a data source that Envoy reads from a file."""
    return DataSource(filename=str(path))


def struct(values: dict[str, Anything]) -> Struct:
    """Return plain values as a ``Struct``."""
    message = Struct.from_dict(values)
    assert isinstance(message, Struct)  # noqa: S101 - from_dict is typed as any message
    return message


def regex(pattern: str) -> RegexMatcher:
    """Match an RE2 pattern in full."""
    return RegexMatcher(regex=pattern)


def exactly(text: str) -> StringMatcher:
    """Match one string."""
    return StringMatcher(exact=text)


def starting_with(text: str) -> StringMatcher:
    """Match a prefix."""
    return StringMatcher(prefix=text)


def set_header(name: str, value: str) -> HeaderValueOption:
    """Set a header, whatever was there."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def always() -> RuntimeFractionalPercent:
    """Return 100 %."""
    return RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))
