"""Fills the lines of a client with the URLs of one gateway."""

import json
from collections.abc import Mapping

from authz.clients.catalog import MODES, Client
from authz.config.provider_status import has_central
from authz.config.settings import Config, Provider
from authz.core.providers.openai import OPENAI_FORMAT

HEADINGS = {
    "centralized": "With the company's key",
    "byok": "With your own key",
    "subscription": "With your own subscription",
    "proxy": "Through the AI Gateway Proxy, with the company's key",
    "proxy-byok": "Through the AI Gateway Proxy, with your own key",
    "proxy-subscription": "Through the AI Gateway Proxy, with your own subscription",
}
_PROXY = "`gateway.yaml` has a `proxy` section, and `authz proxy ca` was run once."
_KEY = "Your key is in `$ANTHROPIC_API_KEY` or `$OPENAI_API_KEY`."
_LOGIN = (
    "You have logged in with the client before, or your token is in `$CLAUDE_CODE_OAUTH_TOKEN`."
)
NEEDS = {
    "byok": _KEY,
    "subscription": _LOGIN,
    "proxy": _PROXY,
    "proxy-byok": f"{_KEY} {_PROXY}",
    "proxy-subscription": f"{_LOGIN} {_PROXY}",
}
PLACEHOLDERS = {"anthropic": "%ANTHROPIC%", "openai": "%OPENAI%", "chatgpt": "%CHATGPT%"}


def urls(config: Config) -> dict[str, str]:
    """Return the base URL for each kind of provider that the gateway has.

    Returns:
        The URLs by ``anthropic``, ``openai`` and ``chatgpt``, each of the first provider of that
        kind. Without OpenAI itself, the first provider with OpenAI's format takes its place, such
        as a model on this machine.
    """
    found = _by_kind(config)
    return {kind: client_url(config, provider) for kind, provider in found.items()}


def _by_kind(config: Config) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for provider in config.providers:
        found.setdefault(kind_of(provider), provider)
    for provider in config.providers:
        if provider.provider_type in OPENAI_FORMAT and kind_of(provider) != "chatgpt":
            found.setdefault("openai", provider)
    return {kind: found[kind] for kind in PLACEHOLDERS if kind in found}


def base_url(config: Config) -> str:
    """Return the URL under which a client on this machine reaches the gateway."""
    scheme = "http" if config.tls is None else "https"
    return f"{scheme}://{config.listen.for_clients}"


def client_url(config: Config, provider: Provider, base: str | None = None) -> str:
    """Return the base URL of a provider for a client's configuration.

    Args:
        config: the configuration of the gateway.
        provider: the provider.
        base: the URL of the gateway, if the caller knows it better than the configuration.
    """
    prefix = provider.provider_type.client_prefix
    return f"{base or base_url(config)}/api/v2/ai-gateway/{provider.name}{prefix}"


def kind_of(provider: Provider) -> str:
    """Return the catalog's word for providers of this kind."""
    if provider.type == "openai" and (
        provider.native_url.host == "chatgpt.com" or provider.name == "chatgpt"
    ):
        return "chatgpt"
    return provider.type


def fill(lines: str, urls_by_kind: Mapping[str, str]) -> str:
    """Return the lines with the gateway's URLs."""
    for kind, url in urls_by_kind.items():
        lines = lines.replace(PLACEHOLDERS[kind], url)
    return lines


def paste(client: Client, config: Config) -> str:
    """Return the lines of a client for this gateway, as ``authz client NAME`` prints them."""
    known = urls(config)
    parts = [f"# {client.title}: {client.install}", "# $CODER_TOKEN is your Coder token."]
    for mode in MODES:
        for kind, lines in client.lines.get(mode, {}).items():
            parts.append(f"\n# {HEADINGS[mode]} ({kind})")
            reason = _missing(mode, kind, known, config)
            if reason:
                parts.append(f"# not available: {reason}")
                continue
            if mode in ("centralized", "proxy") and (unset := _unset(kind, config)):
                parts.append(f"# {unset}")
            if mode in NEEDS:
                parts.append(f"# {NEEDS[mode].replace('`', '')}")
            parts.append(fill(lines, known).rstrip())
    for mode, reason in client.tested.reasons.items():
        parts.append(f"\n# {HEADINGS.get(mode, mode)}: not possible, {reason}")
    if client.name == "claude-code" and config.claude_code_providers:
        parts += ["", *_gateway_login(config)]
    return "\n".join(parts)


def _gateway_login(config: Config) -> list[str]:
    """Return the managed settings with which Claude Code signs in to this gateway by itself."""
    public = config.sign_in.url
    url = base_url(config) if public is None else str(public).rstrip("/")
    settings = {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": url}
    return [
        "# With a sign-in in the browser instead of a token (docs/claude-code-login.md):",
        "# managed-settings.json of the developers' machines",
        json.dumps(settings, indent=2),
    ]


def _unset(kind: str, config: Config) -> str | None:
    """Return a note if the central key is not in this shell; the gateway's shell may have it."""
    provider = _by_kind(config)[kind]
    if has_central(provider):
        return None
    variables = ", ".join(f"${one.env}" for _, one in provider.key_references if one.env)
    return f"needs a central key at the gateway; {variables} is not set in this shell"


def _missing(mode: str, kind: str, known: Mapping[str, str], config: Config) -> str | None:
    """Return the reason why this gateway does not support a mode, or None."""
    if kind not in known:
        return f"gateway.yaml has no provider for {kind}"
    if mode.endswith(("byok", "subscription")) and not config.allow_byok:
        return "allow_byok is false"
    if mode.startswith("proxy") and config.proxy is None:
        return "gateway.yaml has no proxy section"
    provider = _by_kind(config)[kind]
    keys = provider.key_references or provider.signed or provider.is_open
    if mode in ("centralized", "proxy") and not keys:
        return f"{provider.name} has no central key"
    return None
