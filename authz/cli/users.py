"""``authz users``: the people and machines of the embedded store."""

from pathlib import Path

import click

from authz.cli.common import (
    AliasedGroup,
    config_option,
    example,
    identity_of,
    opened_store,
    output_option,
    print_rows,
    run_async,
)


@click.group(
    cls=AliasedGroup,
    aliases={"ls": "list", "rm": "delete", "remove": "delete"},
    epilog=example("authz users create alice", "authz users list"),
)
def users() -> None:
    """Make, list, suspend and delete users of the embedded store."""


@users.command(
    epilog=example(
        "authz users create alice --email alice@example.com",
        "authz users create nightly-build --service-account",
    )
)
@click.argument("name")
@click.option("--email", help="The user's e-mail address.")
@click.option("--service-account", is_flag=True, help="The user is a machine.")
@config_option
def create(name: str, email: str | None, service_account: bool, config_path: Path | None) -> None:
    """Make the user NAME, active at once; makes the store if there is none."""

    async def work() -> None:
        async with opened_store(identity_of(config_path), create=True) as store:
            user = await store.create_user(name, email, service_account=service_account)
            click.echo(f"User {user.username} has been created.")

    run_async(work())


@users.command("list", epilog=example("authz users list", "authz users ls -o json"))
@output_option
@config_option
def list_(output: str, config_path: Path | None) -> None:
    """List all users."""

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            found = await store.list_users()
            rows = [
                {
                    "USERNAME": user.username,
                    "EMAIL": user.email,
                    "STATUS": user.status,
                    "KIND": "service account" if user.is_service_account else "person",
                    "CREATED AT": f"{user.created_at:%Y-%m-%dT%H:%M:%SZ}",
                }
                for user in found
            ]
            print_rows(rows, [user.as_json() for user in found], output, "No users found.")

    run_async(work())


@users.command(epilog=example("authz users suspend alice"))
@click.argument("name")
@config_option
def suspend(name: str, config_path: Path | None) -> None:
    """Refuse all tokens of the user NAME until 'activate'."""
    run_async(_set_status(name, "suspended", config_path))


@users.command(epilog=example("authz users activate alice"))
@click.argument("name")
@config_option
def activate(name: str, config_path: Path | None) -> None:
    """Accept the tokens of the user NAME again."""
    run_async(_set_status(name, "active", config_path))


@users.command(epilog=example("authz users delete alice"))
@click.argument("name")
@config_option
def delete(name: str, config_path: Path | None) -> None:
    """Delete the user NAME with all their tokens, at once and without asking."""

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            user = await store.get_user(name)
            gone = await store.delete_user(user)
            tokens = "1 valid token" if gone == 1 else f"{gone} valid tokens"
            click.echo(f"User {user.username} has been deleted, and {tokens} with it.")

    run_async(work())


async def _set_status(name: str, status: str, config_path: Path | None) -> None:
    async with opened_store(identity_of(config_path)) as store:
        user = await store.set_status(await store.get_user(name), status)
        click.echo(f"User {user.username} is {user.status}.")
