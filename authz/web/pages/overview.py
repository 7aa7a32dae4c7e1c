"""Show owners what the gateway does now: providers and their keys, and the last hour's requests."""

import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import Response

from authz.config.settings import Provider
from authz.identity.roles import is_owner
from authz.usage.rows import Line
from authz.usage.store import UsageStore
from authz.web.pages.context import GatewayState, PageContext
from authz.web.pages.responses import not_found
from authz.web.pages.usage_table import total

_HOUR_MS = 3_600_000
_WHY = {
    401: "the provider refused it (401)",
    403: "the provider refused it (403)",
    429: "the provider limited its rate (429)",
}


@dataclass(frozen=True, slots=True)
class Key:
    """A central key now.

    Attributes:
        place: in ``gateway.yaml``.
        hint: masked; empty if the key can't be read.
        why: the reason for the cooldown; empty while the key is available.
        until: the end of the cooldown.
    """

    place: str
    hint: str
    why: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProviderNow:
    """A provider now.

    Attributes:
        credential: the kind of its central credential, in words.
        keys: its central keys, in order.
        line: its requests in the last hour; None if they are not recorded.
    """

    name: str
    type: str
    credential: str
    keys: tuple[Key, ...]
    line: Line | None


async def show_overview(context: PageContext) -> Response:
    """Show the state of the gateway, to owners."""
    if not is_owner(context.caller):
        raise not_found()
    rows = await context.pages.usage.get()
    since_ms = int(time.time() * 1000) - _HOUR_MS
    by_provider = await rows.add_up("provider", since_ms) if rows else []
    lines = {line.key: line for line in by_provider}
    config, gateway = context.pages.config(), context.pages.gateway
    providers = [
        ProviderNow(
            provider.name,
            str(provider.type),
            _credential(provider, allow_byok=config.allow_byok),
            _keys(gateway, provider.name),
            lines.get(provider.name, _none(provider.name)) if rows else None,
        )
        for provider in config.providers
    ]
    return context.show(
        "overview.html",
        now=datetime.now(UTC),
        is_recorded=rows is not None,
        host=socket.gethostname(),
        knows_keys=gateway is not None,
        providers=providers,
        keys=[key for one in providers for key in one.keys],
        total=total(by_provider),
        open_streams=gateway.metrics.open_streams() if gateway else None,
        open_requests=await rows.missing() if rows else 0,
        refusals=await _refusals(rows, since_ms) if rows else [],
    )


def _none(name: str) -> Line:
    return Line(name, 0, 0, 0, 0, 0, 0)


async def _refusals(rows: UsageStore, since_ms: int) -> list[dict[str, object]]:
    return [
        {
            "reason": one.reason or "by Envoy",
            "requests": one.requests,
            "users": one.users,
            "last": datetime.fromtimestamp(one.last_ms / 1000, UTC),
        }
        for one in await rows.refusals(since_ms)
    ]


def _credential(provider: Provider, *, allow_byok: bool) -> str:
    if provider.signed:
        return "AWS credentials: Envoy signs"
    if provider.is_open:
        return "no key needed"
    count = len(provider.key_references)
    if not count:
        return "users bring their own keys" if allow_byok else "no key"
    return "1 key, never on cooldown" if count == 1 else f"{count} keys"


def _keys(gateway: GatewayState | None, provider: str) -> tuple[Key, ...]:
    """Return the central keys of a provider, with the cooldowns of all workers of this authz."""
    pool = gateway.pools().get(provider) if gateway else None
    if gateway is None or pool is None:
        return ()
    cooldowns, now = gateway.metrics.cooldowns(), time.time()
    keys = []
    for index, one in enumerate(pool.keys):
        key, cooldown = one.current(), cooldowns.get((provider, index))
        place = f"keys[{index}]" if len(pool.keys) > 1 else "key"
        hint = key.hint if key is not None else ""
        if cooldown is None or cooldown.end <= now:
            keys.append(Key(place, hint))
        else:
            until = datetime.fromtimestamp(cooldown.end, UTC)
            keys.append(Key(place, hint, _WHY.get(cooldown.status, ""), until))
    return tuple(keys)
