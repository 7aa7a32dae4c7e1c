"""What ``authz up`` prints when a request would pass: base URLs and lines to paste."""

from authz.settings import Config, Provider
from authz.up.first_start import FIRST_USER, FirstToken

_OWN_KEYS = {"anthropic": "$ANTHROPIC_API_KEY", "openai": "$OPENAI_API_KEY"}
_DEMO_OWN_KEYS = {"anthropic": "sk-ant-my-own-key", "openai": "sk-my-own-key"}


def banner(config: Config, first: FirstToken | None, *, demo: bool) -> str:
    """Write the text.

    Args:
        first: the token of the first start; it is shown here and nowhere else.
        demo: whether the providers are played by the stand-in.
    """
    base = base_url(config)
    lines = [f"The gateway is up: {base}", ""]
    if demo:
        lines += ["The providers are played by a stand-in on this machine (--demo).", ""]
    lines += ["Base URLs"]
    lines += [
        f"  {provider.name:<12} {_client_url(base, provider)}" for provider in config.providers
    ]
    lines += ["", *_token_lines(first)]
    own_keys = _DEMO_OWN_KEYS if demo else _OWN_KEYS
    for provider in config.providers:
        if not provider.key_references or provider.type not in own_keys:
            continue
        url = _client_url(base, provider)
        write = _anthropic if provider.type == "anthropic" else _openai
        lines += ["", *write(url, provider.name, own_keys[provider.type], config.allow_byok)]
    lines += ["", "Ctrl-C stops it; open streams finish first."]
    return "\n".join(lines)


def base_url(config: Config) -> str:
    """Return the URL under which a client on this machine reaches the gateway."""
    scheme = "http" if config.tls is None else "https"
    return f"{scheme}://{config.listen.for_clients}"


def _client_url(base: str, provider: Provider) -> str:
    return f"{base}/api/v2/ai-gateway/{provider.name}{provider.provider_type.client_prefix}"


def _token_lines(first: FirstToken | None) -> list[str]:
    if first is None:
        return [
            "A Coder token (see `authz users list` for the names)",
            f"  export CODER_TOKEN=$(authz tokens create --user {FIRST_USER} --lifetime 8h)",
        ]
    return [
        f"A Coder token of the user {first.username}, valid for 7 days and shown only now",
        f"  export CODER_TOKEN={first.token.reveal()}",
    ]


def _anthropic(url: str, name: str, own_key: str, allow_byok: bool) -> list[str]:
    body = (
        '{"model":"claude-sonnet-4-5","max_tokens":64,'
        '"messages":[{"role":"user","content":"Hello"}]}'
    )
    headers = "-H 'content-type: application/json' -H 'anthropic-version: 2023-06-01'"
    lines = [
        f"Claude Code ({name})",
        f'  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN="$CODER_TOKEN" claude',
        f"curl ({name})",
        f"  curl {url}/v1/messages -H \"x-api-key: $CODER_TOKEN\" {headers} -d '{body}'",
    ]
    if allow_byok:
        lines += [
            f"curl ({name}), with your own key",
            f'  curl {url}/v1/messages -H "x-coder-ai-governance-token: $CODER_TOKEN" '
            f"-H \"x-api-key: {own_key}\" {headers} -d '{body}'",
        ]
    return lines


def _openai(url: str, name: str, own_key: str, allow_byok: bool) -> list[str]:
    body = '{"model":"gpt-5","messages":[{"role":"user","content":"Hello"}]}'
    content_type = "-H 'content-type: application/json'"
    lines = [
        f"Codex ({name})",
        f'  OPENAI_API_KEY="$CODER_TOKEN" codex -c model_provider=gateway '
        f'-c \'model_providers.gateway={{name="gateway", base_url="{url}", '
        f'env_key="OPENAI_API_KEY", wire_api="responses", supports_websockets=false}}\'',
        f"curl ({name})",
        f'  curl {url}/chat/completions -H "authorization: Bearer $CODER_TOKEN" '
        f"{content_type} -d '{body}'",
    ]
    if allow_byok:
        lines += [
            f"curl ({name}), with your own key",
            f'  curl {url}/chat/completions -H "x-coder-ai-governance-token: $CODER_TOKEN" '
            f"-H \"authorization: Bearer {own_key}\" {content_type} -d '{body}'",
        ]
    return lines
