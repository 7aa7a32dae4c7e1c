"""Optional settings of a provider: AWS credentials, further paths and headers."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictStr, WithJsonSchema

from authz.config.fields import Section, matching
from authz.core import tokens
from authz.core.header_names import is_reserved
from authz.core.providers import AllowedPath, ModelPlace

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,2}-[0-9]{1,2}")
_PROFILE = re.compile(r"[A-Za-z0-9_.@+-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*")
_EXTRA_PATH = re.compile(rf"(/{_SEGMENT.pattern})+(/\*)?")
_HEADER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_WRITTEN_HEADER = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
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


HeaderName = Annotated[StrictStr, AfterValidator(_header), matching(_WRITTEN_HEADER, "x-team-key")]
HeaderValue = Annotated[StrictStr, AfterValidator(_header_value), matching(_HEADER_VALUE)]
CredentialHeaders = Annotated[tuple[HeaderName, ...], Field(max_length=_MAX_HEADERS)]
AccountHeaders = Annotated[dict[HeaderName, HeaderValue], Field(max_length=_MAX_HEADERS)]


class Aws(Section):
    """Signatures for AWS. Envoy reads the secret and signs; authz never sees it.

    Attributes:
        region: AWS region of the host, such as ``us-east-1``.
        credentials_file: file in AWS's format, which Envoy reads again when it is replaced. None
            means AWS's default chain: environment, config files, web identity, container,
            instance.
        profile: name of the profile in ``credentials_file``.
    """

    region: Annotated[StrictStr, AfterValidator(_region), matching(_REGION, "us-east-1")]
    credentials_file: Path | None = None
    profile: Annotated[StrictStr, AfterValidator(_profile), matching(_PROFILE)] = "default"


class ExtraPath(Section):
    """A path that is served in addition to those of the provider's type.

    Attributes:
        path: literal path behind ``/<provider>``, such as ``/v1/batches``. A last segment ``*``
            matches everything below.
        methods: the HTTP methods to serve.
        central_key: whether requests may use the central key. Otherwise they need the user's own
            credential.
        model: the place of the model, for rules for models: ``body`` for the field ``model`` of
            the JSON body, ``none`` for a path on which no model answers. With ``unknown`` the
            rules refuse requests that write.
    """

    path: Annotated[StrictStr, AfterValidator(_path), matching(_EXTRA_PATH, "/v1/batches")]
    methods: Annotated[
        tuple[
            Annotated[
                StrictStr,
                AfterValidator(_method),
                WithJsonSchema({"type": "string", "enum": list(_METHODS)}),
            ],
            ...,
        ],
        Field(min_length=1),
    ]
    central_key: StrictBool = False
    model: Literal["unknown", "body", "none"] = "unknown"

    @property
    def allowed(self) -> AllowedPath:
        """The path in the form of a provider type."""
        literal = re.escape(self.path.removesuffix("/*"))
        pattern = f"{literal}/.+" if self.path.endswith("/*") else literal
        return AllowedPath(
            self.methods, pattern, central_key=self.central_key, model=ModelPlace(self.model)
        )
