"""Loading of the configuration from ``gateway.yaml``, environment and flags."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from authz.config.external_gateways import open_secret
from authz.config.file import Location, location_of, read_file, shown, written
from authz.config.rules import broken_rules, warnings
from authz.config.settings import Config
from authz.config.tokens import Tokens
from authz.config.uses import Uses, broken_files
from authz.config.validation import known, validated
from authz.errors import ConfigError
from authz.keys.pool import KeyPool
from authz.keys.sources import CentralKey

DEFAULT_FILE = Path("gateway.yaml")
ALLOW_BYOK_VARIABLES = ("CODER_AI_GATEWAY_ALLOW_BYOK", "CODER_AIBRIDGE_ALLOW_BYOK")


def load(
    path: Path | None = None,
    *,
    allow_byok: bool | None = None,
    uses: Uses = Uses.EVERYTHING,
    warn: Callable[[str], None] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Read the configuration: flag over environment over file over default.

    Args:
        path: the file. None means ``$AUTHZ_CONFIG``, else ``./gateway.yaml`` if it exists, else
            the defaults.
        allow_byok: the flag; None if it was not given.
        uses: the secrets and certificates that the command uses. Only these have to be there.
        warn: called with each warning of a valid configuration.
        environ: the environment.

    Raises:
        ConfigError: every problem, one line each with the file, the line and the key's path.
    """
    file = read_file(path or _found_file(environ))
    problems: list[str] = []
    values = file.values
    if allow_byok is None:
        allow_byok = _allow_byok_from(environ, problems)
    if allow_byok is not None:
        values = {**values, "allow_byok": allow_byok}
    config, found = validated(values)
    messages = [
        (file.line(location), f"{file.place(location)}{_message(location, text)}")
        for location, text in found
    ]
    messages += [(n, f"{file.path}:{n}: key {shown(key)!r} appears twice") for key, n in file.twice]
    said = list(broken_rules(config))
    if Uses.KEYS in uses and known(config, "providers"):
        open_pools(config, environ, said)
    if Uses.KEYS in uses:
        said += _external_secret_problems(config, environ)
    if Uses.KEYS in uses and known(config, "sign_in"):
        said += _client_secret_problems(config, environ)
    if Uses.NOTICES in uses:
        said += _webhook_secret_problems(config, environ)
    if Uses.KEYS in uses and known(config, "limits"):
        said += _limits_password_problems(config, environ)
    said += broken_files(config, uses)
    if Uses.PROXY_CA in uses:
        said += _ca_problems(config)
    for text in said:
        location = location_of(text)
        messages.append((file.line(location), f"{file.place(location)}{text}"))
    problems += [text for _, text in sorted(messages, key=lambda message: message[0])]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if warn is not None:
        for text in warnings(config):
            warn(f"{file.place(location_of(text))}{text}")
    return config


def _message(location: Location, text: str) -> str:
    return f"{written(location)}: {text}" if location else text


def open_pools(
    config: Config, environ: Mapping[str, str] = os.environ, problems: list[str] | None = None
) -> dict[str, KeyPool]:
    """Open the central keys of every provider that names any.

    Args:
        problems: a list to add problems to; None raises them.

    Raises:
        ConfigError: a key can't be read, and ``problems`` is None.
    """
    found: list[str] = [] if problems is None else problems
    pools = {}
    for index, provider in enumerate(config.providers):
        if not known(provider, "name", "key", "keys"):
            continue
        keys: list[CentralKey] = []
        for name, reference in provider.key_references:
            where = f"providers[{index}].{name}"
            try:
                key = reference.open(environ)
            except OSError as error:
                found.append(f"{where}.file: {reference.file}: {error.strerror}")
                continue
            except ValueError as error:
                found.append(f"{where}: {error}")
                continue
            value = key.current()
            if value is not None and any(value == other.current() for other in keys):
                found.append(f"{where}: is the same key as an earlier one")
            keys.append(key)
        if keys:
            pools[provider.name] = KeyPool(provider.name, keys, has_cooldown=bool(provider.keys))
    if problems is None and found:
        raise ConfigError(found)
    return pools


def _external_secret_problems(config: Config, environ: Mapping[str, str]) -> list[str]:
    if not known(config, "external_gateways") or config.external_gateways is None:
        return []
    found = []
    secrets = []
    for name, reference in config.external_gateways.references:
        where = f"external_gateways.{name}"
        try:
            secrets.append(open_secret(reference, environ))
        except OSError as error:
            found.append(f"{where}.file: {reference.file}: {error.strerror}")
        except ValueError as error:
            found.append(f"{where}: {error}")
    if len(secrets) == 2 and secrets[0] == secrets[1]:
        found.append(
            "external_gateways.envoy_secret: must not be the same as secret: a gateway with secret "
            "could pass itself off as the project's own Envoy"
        )
    return found


def _client_secret_problems(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Return the problems with the client secrets of OpenID providers."""
    found = []
    entries = config.sign_in.oidc if known(config.sign_in, "oidc") else ()
    for index, one in enumerate(entries):
        where = f"sign_in.oidc[{index}].client_secret"
        if not known(one, "client_secret") or one.client_secret is None:
            continue
        try:
            if one.client_secret.open(environ).current() is None:
                found.append(f"{where}.env: {one.client_secret.env} is not set")
        except OSError as error:
            found.append(f"{where}.file: {one.client_secret.file}: {error.strerror}")
        except ValueError as error:
            found.append(f"{where}: {error}")
    return found


def _webhook_secret_problems(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Return the problems with the secrets that sign notices."""
    sections: dict[str, Tokens | Config | None] = {
        "tokens.notices": config.tokens if known(config, "tokens") else None,
        "notices": config,
    }
    found = []
    for name, section in sections.items():
        notices = section.notices if section is not None and known(section, "notices") else None
        if notices is None or not known(notices, "webhook") or not known(notices.webhook, "secret"):
            continue
        where = f"{name}.webhook.secret"
        try:
            notices.webhook.open_secret(environ)
        except OSError as error:
            found.append(f"{where}.file: {notices.webhook.secret.file}: {error.strerror}")
        except ValueError as error:
            found.append(f"{where}: {error}")
    return found


def _limits_password_problems(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Return the problems with the password of the store of limits."""
    shared = config.limits.shared if known(config.limits, "shared") else None
    if shared is None or not known(shared, "password") or shared.password is None:
        return []
    where = "limits.shared.password"
    try:
        if shared.password.open(environ).current() is None:
            return [f"{where}.env: {shared.password.env} is not set"]
    except OSError as error:
        return [f"{where}.file: {shared.password.file}: {error.strerror}"]
    except ValueError as error:
        return [f"{where}: {error}"]
    return []


def _ca_problems(config: Config) -> list[str]:
    if not known(config, "proxy") or config.proxy is None or not known(config.proxy, "ca"):
        return []
    if not known(config.proxy.ca, "cert_file", "key_file"):
        return []
    # cryptography takes long to import, and most commands don't need it.
    from authz.certificates.ca import load_ca

    try:
        load_ca(config.proxy.ca.cert_file, config.proxy.ca.key_file)
    except ConfigError as error:
        return error.problems
    return []


def parse_bool(text: str) -> bool:
    """Read a boolean as Go's ``strconv.ParseBool`` does, which ``coder server`` uses.

    Raises:
        ValueError: the text is not a boolean.
    """
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError("must be true or false")


def _allow_byok_from(environ: Mapping[str, str], problems: list[str]) -> bool | None:
    given: dict[str, bool] = {}
    for name in ALLOW_BYOK_VARIABLES:
        if environ.get(name):
            try:
                given[name] = parse_bool(environ[name])
            except ValueError as error:
                problems.append(f"${name}: {error}")
    if len(set(given.values())) > 1:
        problems.append(f"${' and $'.join(given)}: have different values: set only one")
    return next(iter(given.values()), None)


def _found_file(environ: Mapping[str, str]) -> Path | None:
    if environ.get("AUTHZ_CONFIG"):
        return Path(environ["AUTHZ_CONFIG"])
    # A broken link is an error, not a missing file.
    return DEFAULT_FILE if DEFAULT_FILE.is_symlink() or DEFAULT_FILE.exists() else None
