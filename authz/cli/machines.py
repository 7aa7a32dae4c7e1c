"""``authz machines``: the rules that give tokens to machines."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from authz.cli.common import config_of_store, config_option, opened_store, run_async
from authz.cli.groups import AliasedGroup, example
from authz.config.machines import MachineRule, Machines
from authz.config.settings import Config
from authz.errors import ConfigError, StoreError
from authz.identity.store import Store
from authz.printable import printable
from authz.secret import Secret

if TYPE_CHECKING:
    from authz.oauth.issuers import Claims
    from authz.oauth.machines import MachineGrants

_SHOWN = 100
"""The most characters of a claim that are printed."""


@click.group(cls=AliasedGroup, epilog=example("authz machines test --token-file jwt.txt"))
def machines() -> None:
    """Test the rules that give tokens to CI jobs and other machines."""


@machines.command(
    epilog=example(
        "authz machines test --token-file /var/run/secrets/authz/token",
        "echo $JWT | authz machines test --token-file -",
    )
)
@click.option(
    "--token-file",
    type=click.File(encoding="utf-8", errors="replace"),
    required=True,
    metavar="FILE",
    help="A file with the JWT, or - for standard input.",
)
@config_option
def test(token_file: TextIO, config_path: Path | None) -> None:
    """Tell which rule matches a JWT, or why none does.

    It creates no token and does not print the JWT, but claims that a rule compares.
    """
    # The limit of a JWT is far below: this one keeps a wrong file out of memory.
    text = Secret(token_file.read(100_000).strip())
    run_async(_test(config_of_store(config_path), text))


async def _test(config: Config, text: Secret) -> None:
    async with _opened_grants(settings_of(config)) as grants:
        # Imported late: they take long, and other commands don't need them.
        from authz.fetcher import IssuerUnavailable
        from authz.oauth.issuers import InvalidJwt

        try:
            claims = await grants.verify(text)
        except (InvalidJwt, IssuerUnavailable) as error:
            raise StoreError(f"the JWT is not accepted: {error}") from None
        click.echo(f"The JWT is valid: {_cut(claims['iss'])} issued it.")
        rule = _explain(grants.rules, claims)
    if rule is None:
        raise StoreError("no rule matches: change the claims of a rule, or the workload")
    async with opened_store(config.identity) as store:
        problem = await account_problem(store, rule)
    if problem is not None:
        raise StoreError(f"the rule {rule.name} can't give a token: {problem}")
    click.echo(
        f"It gets a token of {rule.service_account} for {rule.lifetime} s"
        f"{f' ({rule.rules})' if str(rule.rules) else ''}."
    )


def _explain(rules: Sequence[MachineRule], claims: "Claims") -> MachineRule | None:
    """Print why each rule does or does not match, up to the first that does, and return it."""
    from authz.oauth.claims import mismatches

    for rule in rules:
        if rule.issuer != claims["iss"]:
            click.echo(f"{rule.name}: does not match: is for another issuer")
            continue
        found = mismatches(rule.claims, claims)
        if not found:
            click.echo(f"{rule.name}: matches")
            return rule
        for one in found:
            values = " or ".join(_cut(text) for text in one.found[:3]) or "missing"
            click.echo(f"{rule.name}: does not match: {one.claim} is {values}, not {one.pattern}")
    return None


async def account_problem(store: Store, rule: MachineRule) -> str | None:
    """Return the reason why a rule can't give tokens of its service account, or None."""
    user, name = await store.find_user(rule.service_account), rule.service_account
    if user is None:
        return f"there is no user {name}: 'authz users create {name} --service-account'"
    if not user.is_service_account:
        return f"{name} is a person, not a service account"
    if user.status == "suspended":
        return f"{name} is suspended: 'authz users activate {name}'"
    return None


async def account_problems(config: Config) -> list[str]:
    """Return the problems of all rules' service accounts, beginning with the path of the key.

    A store that can't be opened is no problem of the rules.
    """
    found: list[str] = []
    if config.sign_in.machines is None:
        return found
    try:
        async with opened_store(config.identity) as store:
            for index, rule in enumerate(config.sign_in.machines.rules):
                if problem := await account_problem(store, rule):
                    found.append(f"sign_in.machines.rules[{index}].service_account: {problem}")
    except StoreError as error:
        found.append(f"sign_in.machines.rules: can't look for service accounts: {error}")
    return found


def settings_of(config: Config) -> Machines:
    """Return the settings of machines.

    Raises:
        ConfigError: there are none.
    """
    if config.sign_in.machines is None:
        raise ConfigError(["sign_in.machines: is not set: add an issuer and a rule first"])
    return config.sign_in.machines


@asynccontextmanager
async def _opened_grants(settings: Machines) -> AsyncIterator["MachineGrants"]:
    from authz.oauth.machines import MachineGrants

    grants = MachineGrants(settings)
    try:
        yield grants
    finally:
        await grants.close()


def _cut(text: str) -> str:
    return printable(text, _SHOWN)
