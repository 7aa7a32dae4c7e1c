"""``authz notices``: the receivers of notices."""

import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

import click

from authz.cli.common import config_option, run_async
from authz.cli.groups import AliasedGroup, example
from authz.cli.waiting import told_if_slow
from authz.config.loading import load
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.config.webhook import Webhook as WebhookSettings
from authz.errors import ConfigError
from authz.identity.accounts import rfc3339
from authz.notices.webhook import NotDelivered, Webhook

_TEST = "test"


@click.group(cls=AliasedGroup, epilog=example("authz notices test"))
def notices() -> None:
    """Test the receivers of notices."""


@notices.command(epilog=example("authz notices test"))
@config_option
def test(config_path: Path | None) -> None:
    """Send a notice of type test to each receiver of gateway.yaml, signed as all others."""

    async def work() -> None:
        config = load(config_path, uses=Uses.NOTICES)
        receivers = _receivers(config)
        if not receivers:
            raise ConfigError(
                ["notices: is not set, and neither is tokens.notices: there is no receiver"]
            )
        failed = []
        for name, settings in receivers.items():
            problem = await _send(settings)
            if problem is None:
                click.echo(f"{name}: the receiver has accepted a test notice.")
            else:
                failed.append(f"{name}: {problem}")
        if failed:
            raise NotDelivered("; ".join(failed))

    run_async(work())


def _receivers(config: Config) -> dict[str, WebhookSettings]:
    sections = {"notices.webhook": config.notices, "tokens.notices.webhook": config.tokens.notices}
    return {name: one.webhook for name, one in sections.items() if one is not None}


async def _send(settings: WebhookSettings) -> str | None:
    """Send a test notice, and return the problem if the receiver has not accepted it."""
    webhook = Webhook(settings, os.environ)
    body = {"type": _TEST, "timestamp": rfc3339(datetime.now(UTC)), "data": {}}
    try:
        with told_if_slow("waiting for the receiver"):
            await webhook.send(f"test-{uuid.uuid4()}", json.dumps(body).encode())
    except NotDelivered as error:
        return f"the receiver has not accepted a test notice: {error}"
    finally:
        await webhook.close()
    return None
