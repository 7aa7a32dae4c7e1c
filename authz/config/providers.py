"""Optional settings of a provider: AWS credentials, further paths and headers."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from authz.config.fields import Section
from authz.core import tokens
from authz.core.header_names import is_reserved
from authz.core.providers import AllowedPath

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,2}-[0-9]{1,2}")
_PROFILE = re.compile(r"[A-Za-z0-9_.@+-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*")
_HEADER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,510}[!-~])?")
_MAX_HEADERS = 16
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _region(text: str) -> str:
    if _REGION.fullmatch(text) is None:
        raise ValueError("must be an AWS region such as us-east-1")
    return text


def _profile(text: str) -> str:
    if _PROFILE.fullmatch(text) is None:
        raise ValueError("must be the name of a profile in credentials_file")
    return text


def _path(text: str) -> str:
    segments = text.removesuffix("/*").split("/")
    if segments[0] or len(segments) < 2 or not all(map(_SEGMENT.fullmatch, segments[1:])):
        raise ValueError("must be a literal path such as /v1/embeddings, or end in /*")
    return text


def _method(text: str) -> str:
    if text not in _METHODS:
        raise ValueError(f"must be one of {', '.join(_METHODS)}")
    return text


def _header(text: str) -> str:
    name = text.lower()
    if _HEADER.fullmatch(name) is None:
        raise ValueError("must be the name of a header such as x-team-key")
    if is_reserved(name):
        raise ValueError(f"{name}: the gateway handles this header already")
    return name


def _header_value(text: str) -> str:
    if _HEADER_VALUE.fullmatch(text) is None:
        raise ValueError("must be 1 to 512 characters of visible ASCII")
    if tokens.holds_token(text):
        raise ValueError("must not contain a Coder token")
    return text


HeaderName = Annotated[StrictStr, AfterValidator(_header)]
HeaderValue = Annotated[StrictStr, AfterValidator(_header_value)]
CredentialHeaders = Annotated[tuple[HeaderName, ...], Field(max_length=_MAX_HEADERS)]
AccountHeaders = Annotated[dict[HeaderName, HeaderValue], Field(max_length=_MAX_HEADERS)]


class Aws(Section):
    """The credentials with which Envoy signs requests to AWS. Authz never sees them.

    Attributes:
        region: the AWS region of the provider.
        credentials_file: a file in AWS's format. Envoy reads it, and again when it is replaced.
            None means AWS's default chain: environment, config files, web identity, container,
            instance.
        profile: the name of a profile in that file.
    """

    region: Annotated[StrictStr, AfterValidator(_region)]
    credentials_file: Path | None = None
    profile: Annotated[StrictStr, AfterValidator(_profile)] = "default"


class ExtraPath(Section):
    """A path that is served in addition to those of the provider's type.

    Attributes:
        path: the literal path after ``/<provider>``. A last segment ``*`` matches every rest.
        methods: the allowed HTTP methods.
        central_key: allow the central key on this path. Otherwise the path works with the user's
            own credential only.
    """

    path: Annotated[StrictStr, AfterValidator(_path)]
    methods: Annotated[
        tuple[Annotated[StrictStr, AfterValidator(_method)], ...], Field(min_length=1)
    ]
    central_key: StrictBool = False

    @property
    def allowed(self) -> AllowedPath:
        """The path in the form of a provider type."""
        literal = re.escape(self.path.removesuffix("/*"))
        pattern = f"{literal}/.+" if self.path.endswith("/*") else literal
        return AllowedPath(self.methods, pattern, central_key=self.central_key)
