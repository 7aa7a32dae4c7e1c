"""LiteLLM's proxy: its own key check, without a database."""

from pathlib import Path

import yaml

from bench import message, upstream
from bench.install import venv
from bench.peers.python import REQUIREMENTS
from bench.variants import Running
from bench.world import World
from tests.support.ports import free_port

_VARIABLES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch its list of prices
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_TELEMETRY": "False",
    "NO_DOCS": "True",
}


def begin(world: World, name: str) -> Running:
    """Start it with one worker; the token is its master key, the cheapest check that it has."""
    environment = venv("litellm", REQUIREMENTS / "litellm.txt")
    folder, port = world.folder / name, free_port()
    folder.mkdir(exist_ok=True)
    models = {message.MODEL: message.PROVIDER, message.STREAMING_MODEL: message.STREAMING}
    config = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"anthropic/{model}",
                    "api_base": world.provider_url(provider),
                    "api_key": upstream.CENTRAL_KEY,
                },
            }
            for model, provider in models.items()
        ],
        "general_settings": {"master_key": world.token},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    file = folder / "litellm.yaml"
    file.write_text(yaml.safe_dump(config))
    options = ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    command: list[str | Path] = [environment / "bin" / "litellm", "--config", file, *options]
    variables = _VARIABLES | {"HOME": str(folder)}
    proxy = world.start(name, "proxy", command, variables)
    return Running(port, {"proxy": proxy}, ask=_ask, detail="1.100.0")


def _ask(token: str, streaming: bool) -> bytes:
    return message.request(token, streaming=streaming, path="/v1/messages")
