"""The differences between two configurations, and which of them a reload can apply."""

import hashlib
import json
from collections.abc import Collection

from authz.config.settings import Config, Provider
from authz.config.shared_limits import SharedLimits

_SHARED_LIMITS = frozenset(
    f"limits.shared.{name}"
    for name in ("each_user", "each_token", "users", "groups", "providers", "unavailable")
)
_IN_FLIGHT = _SHARED_LIMITS | {
    "providers",
    "allow_byok",
    "send_actor_headers",
    "envoy.websocket_timeout",
    "envoy.max_retry_body_kib",
    "own_keys.keys",
    "models.rules",
    "prices",
    "audit_keep_days",
    "tokens.max_per_user",
    "usage.keep_days",
}
"""The settings that a reload can change: routes, clusters, authz's answers and its retention.

All others need a restart. A new setting is therefore never reported as reloaded by mistake.
"""


def need_restart(old: Config, new: Config, ignored: Collection[str] = ()) -> list[str]:
    """Return the paths of the settings that differ and that a reload can't change.

    Args:
        old: the configuration in use.
        new: the configuration to apply.
        ignored: top-level keys that this process does not use.
    """
    return [
        path
        for path in _differing(old, new)
        if path not in _IN_FLIGHT and path.partition(".")[0] not in ignored
    ]


def changed_in_listeners(old: Config, new: Config) -> list[str]:
    """Return the names of providers' settings that differ and that Envoy's listeners depend on."""
    return [
        name
        for name in ("fallback", "credential_headers")
        if _by_provider(old, name) != _by_provider(new, name)
    ]


def _by_provider(config: Config, setting: str) -> dict[str, object]:
    found = {provider.name: getattr(provider, setting) for provider in config.providers}
    return {name: value for name, value in found.items() if value}


def describe(old: Config, new: Config, replaced: Collection[str] = ()) -> str:
    """Return a line that describes the changes of a reload.

    Args:
        old: the configuration before.
        new: the configuration after.
        replaced: names of providers whose files changed, such as a CA or a key.
    """
    before = {provider.name: provider for provider in old.providers}
    after = {provider.name: provider for provider in new.providers}
    changed = [name for name in after if name in before and after[name] != before[name]]
    changed += [
        name for name in after if name in before and name in replaced and name not in changed
    ]
    parts = [
        f"{what} {', '.join(names)}"
        for what, names in (
            ("added", [name for name in after if name not in before]),
            ("changed", changed),
            ("removed", [name for name in before if name not in after]),
        )
        if names
    ]
    if parts:
        parts[0] = f"providers {parts[0]}"
    elif old.providers != new.providers:
        parts.append("providers reordered")
    new_values = _values(new)
    parts += [
        f"{path} is now {json.dumps(new_values[path])}"
        for path in _differing(old, new)
        if path != "providers"
    ]
    return "; ".join(parts) or "nothing has changed"


def fingerprint(config: Config) -> int:
    """Return 48 bits of a hash of the settings that a reload can change.

    A float, the value of a gauge, holds 48 bits exactly. The hash covers the places of keys, not
    the keys.
    """
    values = [
        [_provider_values(provider) for provider in config.providers],
        config.allow_byok,
        config.send_actor_headers,
        config.envoy.websocket_timeout,
        config.audit_keep_days,
        config.tokens.max_per_user,
        config.usage.keep_days,
        config.envoy.max_retry_body_kib,
        *([_values(config)["own_keys.keys"]] if config.own_keys else ()),
        *([_values(config)["models.rules"]] if config.models else ()),
        *([config.prices.model_dump(mode="json")] if config.prices else ()),
        *(
            [_values(config)[path] for path in sorted(_SHARED_LIMITS)]
            if config.limits.shared
            else ()
        ),
    ]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _provider_values(provider: Provider) -> object:
    return provider.model_dump(mode="json")


def _differing(old: Config, new: Config) -> list[str]:
    before, after = _values(old), _values(new)
    return [path for path in after if before[path] != after[path]]


def _values(config: Config) -> dict[str, object]:
    """Return the settings by path, with separate paths below some sections."""
    values: dict[str, object] = {}
    for key, value in config.model_dump(mode="json").items():
        if key in ("envoy", "authz", "tokens", "usage"):
            values |= {f"{key}.{inner}": setting for inner, setting in value.items()}
        elif key == "own_keys":
            # Only with stored keys does the identity source read their table.
            values |= {key: value is not None, f"{key}.keys": value}
        elif key == "limits":
            shared = value.pop("shared")
            values |= {key: value, f"{key}.shared": shared is not None}
            values |= {
                f"{key}.shared.{name}": shared and shared[name]
                for name in SharedLimits.model_fields
            }
        elif key == "models":
            # Envoy has filters for them only where there are any.
            values |= {key: value is not None, f"{key}.rules": value and value["rules"]}
            values[f"{key}.assigned"] = value and value["assigned"]
        else:
            values[key] = value
    return values
