"""``authz explain``: whether a user may use a provider, and why."""

import json
from pathlib import Path

import click

from authz.cli.common import config_of_store, config_option, opened_store, output_option, run_async
from authz.cli.completion import complete_provider, complete_token, complete_user
from authz.cli.groups import example
from authz.core.explanation import Answer
from authz.core.rules import MODES, Mode
from authz.errors import StoreError
from authz.printable import printable
from authz.web.explaining import explain_use


@click.command(
    epilog=example(
        "authz explain --user alice --provider openai",
        "authz explain --user alice --provider openai --token laptop --mode byok",
        "authz explain --user alice --provider anthropic --model claude-opus-4-5",
    )
)
@click.option(
    "-u", "--user", required=True, shell_complete=complete_user, help="The name of the user."
)
@click.option(
    "--provider",
    required=True,
    metavar="NAME",
    shell_complete=complete_provider,
    help="The name of the provider.",
)
@click.option(
    "--token",
    metavar="NAME|ID",
    shell_complete=complete_token,
    help="A token of the user. Default: a token without rules.",
)
@click.option(
    "--mode",
    type=click.Choice(list(MODES)),
    help="With the company's keys (centralized) or the user's own (byok). Default: both.",
)
@click.option("--model", metavar="NAME", help="The name of a model, for the rules for models.")
@output_option
@config_option
def explain(
    user: str,
    provider: str,
    token: str | None,
    mode: str | None,
    model: str | None,
    output: str,
    config_path: Path | None,
) -> None:
    """Say whether a user may use a provider, and why.

    It names the rules of the token and of each group, and the settings of the gateway. The exit
    status is 0 if the user may use it in at least one mode, else 1.
    """
    config = config_of_store(config_path)

    async def work() -> list[Answer]:
        async with opened_store(config.identity) as store:
            owner = await store.get_user(user)
            key = None if token is None else await store.find_token(token, owner)
            if token is not None and key is None:
                # The message does not quote the argument, which may be a token.
                raise StoreError(
                    f"no such token: 'authz tokens list --user {owner.username}' shows them"
                )
            return await explain_use(
                store, config, owner, provider, key, MODES[mode] if mode else None, model
            )

    answers = run_async(work())
    if output == "json":
        click.echo(json.dumps([answer.as_json() for answer in answers], indent=2))
    else:
        for answer in answers:
            verb = "may" if answer.allowed else "may not"
            click.echo(printable(f"{user} {verb} use {provider} with {_credential(answer.mode)}."))
            for reason in answer.reasons:
                click.echo(printable(f"  {reason}"))
    if not any(answer.allowed for answer in answers):
        raise click.exceptions.Exit(1)


def _credential(mode: Mode) -> str:
    own = "an own provider credential" if mode is Mode.BYOK else "the company's key"
    return f"{own} ({mode})"
