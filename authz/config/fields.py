"""The types of values in ``gateway.yaml``, with their checks."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictStr,
    WithJsonSchema,
)

from authz.addresses import (
    Address,
    BaseUrl,
    TcpAddress,
    UnixAddress,
    parse_address,
    parse_base_url,
    parse_tcp,
)
from authz.core.providers import PROVIDER_TYPES, RESERVED_NAMES
from authz.database.url import parse_identity_url
from authz.lifetimes import parse_duration

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TCP = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")
_ADDRESS = re.compile(rf"unix:.+|{_TCP.pattern}")
_URL = re.compile(r"https?://[^/?#@\s]+(/[A-Za-z0-9._~/@:+-]*)?")
_IDENTITY = re.compile(r"(sqlite|postgresql|postgres|https|http)://\S+")
_DURATION = re.compile(r"((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|y))+")


def matching(pattern: re.Pattern[str], *examples: str) -> WithJsonSchema:
    """Return the JSON Schema of text that matches a pattern as a whole.

    The schema is for editors; the validators decide.
    """
    schema: dict[str, Any] = {"type": "string", "pattern": f"^({pattern.pattern})$"}
    return WithJsonSchema({**schema, "examples": list(examples)} if examples else schema)


def _duration(number: str, minimum: int = 0, maximum: int = 86_400) -> WithJsonSchema:
    """Return the JSON Schema of a number of seconds or a duration."""
    seconds = {"type": number, "minimum": minimum, "maximum": maximum}
    text = {"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["5m"]}
    return WithJsonSchema({"anyOf": [seconds, text]})


def _parsed_by(parse: Any) -> BeforeValidator:
    """Return a validator that parses text and accepts a parsed value.

    For a value of another type it raises the error that ``parse`` has for an empty text, because
    that says what to write.
    """

    def read(value: object) -> object:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, TcpAddress | UnixAddress | BaseUrl):
            return value
        is_port = isinstance(value, int) and 0 < value < 65536 and not isinstance(value, bool)
        if is_port and parse is not parse_base_url:
            raise ValueError(f"use HOST:PORT, for example 127.0.0.1:{value}")
        return parse("")

    return BeforeValidator(read)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return parse_duration(value if isinstance(value, str) else "").total_seconds()
    return value


def _whole_seconds(value: object) -> int:
    seconds = _seconds(value)
    if not float(seconds).is_integer() or isinstance(value, float):
        raise ValueError("must be whole seconds, such as 300, 30s, 5m or 1h")
    return int(seconds)


def _checked_identity(text: str) -> str:
    parse_identity_url(text)
    return text


def _provider_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError("must be lower-case words joined by single hyphens")
    if name in RESERVED_NAMES:
        raise ValueError(f"{name!r} is a reserved name")
    return name


def _known_type(name: str) -> str:
    if name not in PROVIDER_TYPES:
        close = difflib.get_close_matches(name.lower(), PROVIDER_TYPES, n=1)
        meant = f": did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be one of {', '.join(PROVIDER_TYPES)}{meant}")
    return name


_AS_TEXT = PlainSerializer(str, when_used="unless-none")
Tcp = Annotated[TcpAddress, _parsed_by(parse_tcp), _AS_TEXT, matching(_TCP, "127.0.0.1:8080")]
AnyAddress = Annotated[
    Address,
    _parsed_by(parse_address),
    _AS_TEXT,
    matching(_ADDRESS, "unix:./.authz/authz.sock", "127.0.0.1:9001"),
]
Url = Annotated[
    BaseUrl, _parsed_by(parse_base_url), _AS_TEXT, matching(_URL, "https://api.example.com/v1")
]
FilePath = Annotated[Path, Field(strict=False)]
"""A file; ``authz.config.uses`` checks it for the commands that use it."""
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=86_400), _duration("number")]
"""Written as a number of seconds or as a duration such as ``30s`` or ``5m``."""
WholeSeconds = Annotated[
    int, BeforeValidator(_whole_seconds), Field(le=86_400), _duration("integer")
]
"""The same without fractions, for Envoy's settings; each field says the least."""
LongSeconds = Annotated[
    int,
    BeforeValidator(_whole_seconds),
    Field(ge=3600, le=31_536_000),
    _duration("integer", 3600, 31_536_000),
]
"""From an hour to a year."""
ProviderName = Annotated[StrictStr, AfterValidator(_provider_name), matching(_NAME, "anthropic")]
TypeName = Annotated[
    StrictStr,
    AfterValidator(_known_type),
    WithJsonSchema({"type": "string", "enum": list(PROVIDER_TYPES)}),
]
IdentityUrl = Annotated[
    StrictStr,
    AfterValidator(_checked_identity),
    matching(_IDENTITY, "sqlite:///./.authz/identity.db", "https://coder.example.com"),
]


class Section(BaseModel):
    """A mapping of ``gateway.yaml``, frozen. Unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class Tls(Section):
    """Certificate chain and private key of a listener.

    Attributes:
        cert_file: PEM file with the certificate and its intermediates.
        key_file: PEM file with the private key.
    """

    cert_file: FilePath
    key_file: FilePath
