"""Which credentials the stand-in accepts, and where it looks for them."""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from authz.secret import mask

Headers = Sequence[tuple[str, str]]
Kind = Literal["centralized", "byok"]

TYPES = ("anthropic", "openai", "chatgpt", "copilot", "azure", "gemini", "bedrock")

# Accepted from anyone in lenient mode, where a newcomer has no key the stand-in could know.
_SHAPES = {
    "anthropic": re.compile(r"sk-ant-"),
    "openai": re.compile(r"sk-"),
    "chatgpt": re.compile(r"eyJ|sk-"),
    "copilot": re.compile(r"gho_|ghu_|ghp_|github_pat_|tid="),
    "azure": re.compile(r"[0-9A-Za-z]{16}|eyJ|sk-"),
    "gemini": re.compile(r"AIza|ya29\.|sk-"),
    "bedrock": re.compile(r"bedrock-api-key-|ABSK|sk-"),
}
_KEY_HEADERS = {
    "anthropic": "x-api-key",
    "bedrock": "x-api-key",
    "azure": "api-key",
    "gemini": "x-goog-api-key",
}
_CODER_TOKEN = re.compile(r"[0-9A-Za-z]{10}-[0-9A-Za-z]{22}")
# No comma or blank: two credentials folded into one header must not pass as one.
_ONE_TOKEN = re.compile(r"[!-+\--~]+")
_BEARER = re.compile(r"bearer +(\S.*)", re.IGNORECASE | re.DOTALL)
# The access key's id stands for the signature; tests verify that with AWS's own library.
_SIGNATURE = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/.*Signature=[0-9a-f]{64}")


def _default_types() -> dict[str, str]:
    return {name: name for name in TYPES}


@dataclass(frozen=True)
class Presented:
    """The credential as a request carries it, before anyone judged it.

    Attributes:
        header: the header it was read from, or None without one.
        value: the credential without its scheme, or None.
        ambiguous: more than one credential came, so none of them counts.
    """

    header: str | None = None
    value: str | None = field(default=None, repr=False)
    ambiguous: bool = False


@dataclass(frozen=True)
class Credential:
    """A credential that the stand-in accepted."""

    kind: Kind
    header: str
    value: str = field(repr=False)

    @property
    def hint(self) -> str:
        """The credential, masked."""
        return mask(self.value)

    def __str__(self) -> str:
        """Say what reached the provider, as in `byok, sk-a...9f3c in x-api-key`."""
        return f"{self.kind}, {self.hint} in {self.header}"


@dataclass(frozen=True)
class Accounts:
    """Decides if a credential is right.

    Attributes:
        central: provider name to the central key.
        own: the exact own keys that are accepted; None accepts what is shaped like one.
        types: provider name (the mount) to its type, one of `TYPES`.
    """

    central: Mapping[str, str] = field(default_factory=dict, repr=False)
    own: frozenset[str] | None = field(default=None, repr=False)
    types: Mapping[str, str] = field(default_factory=_default_types)

    def __post_init__(self) -> None:
        """Refuse a type that the stand-in can't imitate."""
        for name, kind in self.types.items():
            if kind not in TYPES:
                raise ValueError(f"{name}: type {kind!r} is none of {', '.join(TYPES)}")

    def accept(self, provider: str, presented: Presented) -> Credential | None:
        """Return the credential if it is right for this provider, or None."""
        header, value = presented.header, presented.value
        if header is None or value is None or presented.ambiguous:
            return None
        kind = self._kind(provider, value)
        return None if kind is None else Credential(kind, header, value)

    def _kind(self, provider: str, value: str) -> Kind | None:
        # A Coder token that gets this far is a leak, whatever the accounts say.
        if _CODER_TOKEN.fullmatch(value) or not _ONE_TOKEN.fullmatch(value):
            return None
        if _equal(value, self.central.get(provider, "")):
            return "centralized"
        # A key that leaked to another provider must not pass there as the user's own.
        if any(_equal(value, key) for key in self.central.values()):
            return None
        if self.own is not None:
            return "byok" if any(_equal(value, key) for key in self.own) else None
        shaped = _SHAPES[self.types[provider]].match(value)
        return "byok" if shaped and len(value) >= 8 and "wrong" not in value else None


def present(provider_type: str, headers: Headers) -> Presented:
    """Read the credential as a provider of this type does.

    Args:
        provider_type: one of `TYPES`.
        headers: lower-cased names and values, as received.
    """
    bearers = [value for name, value in headers if name == "authorization"]
    key_header = _KEY_HEADERS.get(provider_type, "")
    keys = [value for name, value in headers if name == key_header]
    ambiguous = len(bearers) + len(keys) > 1
    if keys:
        return Presented(key_header, keys[0], ambiguous)
    signature = _SIGNATURE.fullmatch(bearers[0]) if bearers else None
    if provider_type == "bedrock" and signature:
        return Presented("authorization", signature.group(1), ambiguous)
    if bearers and (match := _BEARER.fullmatch(bearers[0])):
        return Presented("authorization", match.group(1), ambiguous)
    return Presented(ambiguous=ambiguous)


def _equal(left: str, right: str) -> bool:
    return bool(right) and hmac.compare_digest(left.encode(), right.encode())
