"""Run the stand-in provider on loopback in place of every configured provider: ``--demo``."""

import contextlib
import secrets
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from authz.addresses import parse_base_url
from authz.config.key_reference import KeyReference
from authz.config.providers import Aws
from authz.config.settings import Config, Provider
from authz.demo.accounts import Accounts
from authz.demo.app import create_app
from authz.demo.server import Server
from authz.files import write_whole
from authz.up.demo_state import demo_folder, marked_as_running, with_own_state

_BASE_PATHS = {"chatgpt": "/backend-api/codex", "openai": "/v1"}


@contextlib.contextmanager
def demo(config: Config) -> Iterator[tuple[Config, Path]]:
    """Run the stand-in provider, and yield a configuration that uses it.

    Args:
        config: the configuration to change. Providers keep their names and types. Base URLs, keys
            and AWS credentials are replaced, so that no request leaves the machine and no real key
            is used. A provider has as many keys as before. The demo has its own users, tokens and
            recorded requests.

    Yields:
        The changed configuration, and the file it was written to.
    """
    folder = demo_folder(config)
    config = with_own_state(config)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    types = {provider.name: _stand_in_type(provider) for provider in config.providers}
    central = {
        provider.name: _demo_key(types[provider.name])
        for provider in config.providers
        if provider.key_references or provider.aws is not None or provider.is_open
    }
    further = {
        provider.name: [_demo_key(types[provider.name]) for _ in provider.keys[1:]]
        for provider in config.providers
    }
    accounts = Accounts(central=central, further=further, types=types)
    with marked_as_running(config), Server(create_app(accounts), port=_free_port()) as server:
        providers = []
        for provider in config.providers:
            base_path = _BASE_PATHS.get(types[provider.name], "")
            key = aws = None
            keys: tuple[KeyReference, ...] = ()
            if provider.aws is not None:
                aws = Aws(
                    region=provider.aws.region,
                    credentials_file=_aws_file(folder, provider.name, central[provider.name]),
                )
            elif provider.keys:
                values = (central[provider.name], *further[provider.name])
                keys = tuple(_key_files(folder, provider.name, values))
            elif provider.name in central:
                key_file = folder / f"{provider.name}.key"
                write_whole(key_file, central[provider.name], 0o600)
                key = KeyReference(file=key_file)
            base_url = parse_base_url(f"{server.url}/{provider.name}{base_path}")
            providers.append(
                Provider(
                    name=provider.name,
                    type=provider.type,
                    base_url=base_url,
                    public_url=provider.native_url,
                    key=key,
                    keys=keys,
                    retry_keys=provider.retry_keys,
                    fallback=provider.fallback,
                    aws=aws,
                    websocket=provider.websocket,
                    extra_paths=provider.extra_paths,
                    first_byte_timeout=provider.first_byte_timeout,
                    idle_timeout=provider.idle_timeout,
                    outlier_detection=provider.outlier_detection,
                )
            )
        demo_config = config.model_copy(update={"providers": tuple(providers)})
        config_file = folder / "gateway.yaml"
        dumped = demo_config.model_dump(mode="json", exclude_none=True)
        write_whole(config_file, yaml.safe_dump(dumped, sort_keys=False), 0o600)
        yield demo_config, config_file


def _stand_in_type(provider: Provider) -> str:
    """Return the API to imitate. ChatGPT's API differs from OpenAI's in its paths."""
    if provider.provider_type.name in ("anthropic", "copilot", "azure", "gemini", "bedrock"):
        return provider.provider_type.name
    return "chatgpt" if provider.base_url.host == "chatgpt.com" else "openai"


def _demo_key(kind: str) -> str:
    prefixes = {"anthropic": "sk-ant-demo-", "bedrock": "AKIADEMO"}
    return prefixes.get(kind, "sk-demo-") + secrets.token_hex(16)


def _key_files(folder: Path, name: str, values: Iterable[str]) -> Iterator[KeyReference]:
    """Write each key of a pool to a file, numbered from 1, and yield references to them."""
    for number, value in enumerate(values, 1):
        file = folder / f"{name}-{number}.key"
        write_whole(file, value, 0o600)
        yield KeyReference(file=file)


def _aws_file(folder: Path, name: str, access_key: str) -> Path:
    """Write AWS credentials to a separate folder, because Envoy watches the folder."""
    path = folder.absolute() / f"{name}-aws" / "credentials"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    secret = secrets.token_hex(20)
    text = f"[default]\naws_access_key_id={access_key}\naws_secret_access_key={secret}\n"
    write_whole(path, text, 0o600)
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
