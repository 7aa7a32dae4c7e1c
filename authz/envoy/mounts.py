"""The place of a provider's paths, for clients with a base URL and on the provider's own host."""

from dataclasses import dataclass

from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute

from authz.config.settings import Provider
from authz.core.providers import AllowedPath
from authz.envoy.packing import regex

API_PREFIX = "(?:/api/v2/(?:ai-gateway|aibridge))?"
"""Matches both of Coder's prefixes, and no prefix."""


@dataclass(frozen=True, slots=True)
class Mount:
    """The place of a provider's paths for one kind of client.

    Attributes:
        prefix: pattern of what stands before them.
        inside: how much of the type's own paths is part of ``prefix`` already.
        replaced: pattern of what the base URL's path replaces; None where both are the same.
        base_path: what the provider has in its place.
        native: whether clients know what the provider has in front of a path.
    """

    prefix: str
    inside: str
    replaced: str | None
    base_path: str
    native: bool

    def pattern(self, path: AllowedPath) -> str:
        """Return the client's pattern for a path of the provider's type."""
        below = path.below if self.native else ""
        return below + path.pattern.removeprefix(self.inside)

    def rewrite(self, path: AllowedPath) -> RegexMatchAndSubstitute | None:
        """Return how a client's path becomes the provider's; None where it is the same."""
        if self.replaced is None:
            return None
        base_path = self.base_path + ("" if self.native else path.below)
        return RegexMatchAndSubstitute(
            pattern=regex(f"^{self.replaced}(/.*)$"), substitution=rf"{base_path}\1"
        )


def gateway_mount(provider: Provider) -> Mount:
    """Return the place of a provider for clients with a base URL."""
    prefix = f"{API_PREFIX}/{provider.name}"
    replaced = f"{prefix}{provider.provider_type.client_prefix}"
    base_path = provider.base_url.path.rstrip("/")
    return Mount(prefix=prefix, inside="", replaced=replaced, base_path=base_path, native=False)
