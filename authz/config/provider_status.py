"""The credentials that each provider can use, for ``config check`` and ``authz up``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from authz.config.key_reference import KeyReference
from authz.config.settings import Config, Provider


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """The credentials of one provider.

    Attributes:
        central: whether requests with the company's credential work.
        own: whether requests with the user's own credential work.
        text: the status for a person, such as ``no key: set $OPENAI_API_KEY``.
    """

    name: str
    central: bool
    own: bool
    text: str

    @property
    def line(self) -> str:
        """The name and the text, for a list."""
        return f"{self.name:<12} {self.text}"


def provider_statuses(
    config: Config, environ: Mapping[str, str] = os.environ
) -> list[ProviderStatus]:
    """Return the status of each provider, in their order.

    Args:
        config: a valid one.
        environ: the environment, which may have central keys.
    """
    own = config.allow_byok
    return [_status(provider, own, environ) for provider in config.providers]


def has_central(provider: Provider, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the company's credential for a provider is available now."""
    return _status(provider, True, environ).central


def _status(provider: Provider, own: bool, environ: Mapping[str, str]) -> ProviderStatus:
    references = [reference for _, reference in provider.key_references]
    missing = [one for one in references if not _is_there(one, environ)]
    central = provider.signed or provider.is_open or len(missing) < len(references)
    variables = [one.place for one in missing]
    if provider.signed:
        text = "AWS credentials: Envoy signs"
    elif provider.is_open:
        text = "no key needed"
    elif central:
        count = len(references) - len(missing)
        text = "central key" if count == 1 else f"{count} central keys"
        text += f" ({', '.join(variables)} not set)" if missing else ""
    elif missing:
        text = f"no key: set {' or '.join(variables)}"
    elif own:
        text = "own key only"
    else:
        text = "no key, and own keys are off (allow_byok)"
    return ProviderStatus(provider.name, central, own, text)


def _is_there(reference: KeyReference, environ: Mapping[str, str]) -> bool:
    if reference.is_obtained:
        # A gateway starts only if it can obtain the key, and then it keeps the last one.
        return True
    try:
        return reference.open(environ).current() is not None
    except (OSError, ValueError):
        return False
