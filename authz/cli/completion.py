"""Values for the shell's completion: users, groups, tokens, providers and clients.

A person presses the tab key in the middle of a line, so every function here reads only, and returns
no values where anything goes wrong: a missing store, a database that does not answer, a wrong
configuration.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

_SECONDS = 2.0
"""Most that a person waits for a database after pressing the tab key."""

Values = list[CompletionItem]


def _silent(
    find: Callable[[click.Context, str], Iterable[tuple[str, str]]],
) -> Callable[[click.Context, click.Parameter, str], Values]:
    """Make a ``shell_complete`` callback of a function that returns values with their help."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Values:
        try:
            found = list(find(ctx, incomplete))
        except Exception:
            # An error text would appear in the middle of the line that is being typed.
            return []
        return [
            CompletionItem(value, help=text)
            for value, text in found
            # The shell's protocol is lines, and a name may have been written by another program.
            if value.startswith(incomplete) and value.isprintable() and " " not in value
        ]

    return complete


def _config_path(ctx: click.Context) -> Path | None:
    """Return the ``--config`` of the line, given to this command or to its group."""
    while True:
        path = ctx.params.get("config_path")
        if path is not None:
            return Path(path)
        if ctx.parent is None:
            return None
        ctx = ctx.parent


def _from_store(
    ctx: click.Context, read: Callable[[Any], Awaitable[list[tuple[str, str]]]]
) -> list[tuple[str, str]]:
    """Return what a function reads in the store, which is opened for reading only."""
    from authz.cli.common import find_config
    from authz.database.sqlite import SQLiteDatabase
    from authz.database.url import SQLiteURL, parse_identity_url
    from authz.identity.open import open_store
    from authz.identity.schema import IDENTITY
    from authz.identity.store import Store

    async def work() -> list[tuple[str, str]]:
        identity = find_config(_config_path(ctx))[0].identity
        url = parse_identity_url(identity)
        if isinstance(url, SQLiteURL):
            store = Store(SQLiteDatabase(url.path, IDENTITY, read_only=True))
        else:
            store = await open_store(identity, create=False)
        try:
            return await read(store)
        finally:
            await store.close()

    async def in_time() -> list[tuple[str, str]]:
        async with asyncio.timeout(_SECONDS):
            return await work()

    return asyncio.run(in_time())


@_silent
def complete_user(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of a user in the store."""

    async def read(store: Any) -> list[tuple[str, str]]:
        return [(user.username, user.status) for user in await store.list_users()]

    return _from_store(ctx, read)


@_silent
def complete_group(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of a group in the store."""

    async def read(store: Any) -> list[tuple[str, str]]:
        return [
            (group.name, f"{group.member_count} members") for group in await store.list_groups()
        ]

    return _from_store(ctx, read)


@_silent
def complete_token(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name or, once it is begun, the id of a token that is valid."""

    async def read(store: Any) -> list[tuple[str, str]]:
        tokens = await store.list_tokens()
        user = ctx.params.get("user")
        if user is not None:
            tokens = [token for token in tokens if token.username == user]
        values = [(token.token_name, f"{token.id}, {token.username}") for token in tokens]
        if incomplete:
            values += [(token.id, f"{token.token_name}, {token.username}") for token in tokens]
        return values

    return _from_store(ctx, read)


@_silent
def complete_provider(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of a provider in gateway.yaml."""
    from authz.config.loading import load

    config = load(_config_path(ctx), keys=False)
    return [(provider.name, provider.type) for provider in config.providers]


@_silent
def complete_client(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of a client that ``authz client`` knows."""
    from authz.clients.catalog import clients

    return [(client.name, client.title) for client in clients().values()]
