"""Settings of cross-origin requests from browsers."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from authz.config.fields import Section

ANY_ORIGIN = "*"

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def parse_origin(text: str) -> str:
    """Return an origin that is spelled exactly as browsers send it.

    Raises:
        ValueError: the text is spelled differently, or is not an origin.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError(
            "must be scheme://host or scheme://host:port, in lower case and without a path, "
            "such as https://app.example.com"
        )
    port = match["port"]
    if port is not None and int(port) > 65_535:
        raise ValueError("the port must be at most 65535")
    if port is not None and _DEFAULT_PORTS.get(match["scheme"]) == port:
        raise ValueError(f"remove :{port}, which browsers don't send")
    return text


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if origins == (ANY_ORIGIN,):
        return origins
    for index, origin in enumerate(origins):
        if origin == ANY_ORIGIN:
            raise ValueError('"*" means every origin, so it must be the only entry')
        try:
            parse_origin(origin)
        except ValueError as error:
            raise ValueError(f"[{index}] {origin!r}: {error}") from None
        if origin in origins[:index]:
            raise ValueError(f"[{index}] {origin!r}: appears twice")
    return origins


class Cors(Section):
    """Cross-origin requests from browsers; off by default.

    Attributes:
        origins: the pages that may call the providers, such as ``https://app.example.com``; ``*``
            alone allows every page. Cookies are never accepted, so a page always needs a token.
    """

    origins: Annotated[tuple[StrictStr, ...], Field(min_length=1), AfterValidator(_origins)]
