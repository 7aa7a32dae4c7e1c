"""Rules that concern several sections, and warnings.

The rules accept a partial configuration (``authz.config.validation``) and skip invalid values.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from authz.addresses import Address, TcpAddress
from authz.config.base_urls import base_url_problem, base_url_warning
from authz.config.direct import bypassed
from authz.config.fallbacks import fallback_problems
from authz.config.settings import Config
from authz.config.timeouts import timeout_problems
from authz.config.validation import known
from authz.database.url import CoderURL, parse_identity_url

_WITH_FALLBACKS = ("openrouter", "vercel", "openai-compat")
"""Types whose providers may be gateways themselves."""
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - looked up, not bound


def broken_rules(config: Config) -> Iterator[str]:
    """Yield a message for each setting that can't work, beginning with the path of its key."""
    yield from _base_urls(config, base_url_problem)
    yield from _regions(config)
    yield from _shared_addresses(config)
    yield from _bypassed_providers(config)
    yield from _external_routes(config)
    yield from _unknown_providers(config)
    yield from _model_rules(config)
    yield from _export(config)
    yield from _prices(config)
    yield from fallback_problems(config)
    yield from timeout_problems(config)


def warnings(config: Config) -> Iterator[str]:
    """Yield a message for each setting that is allowed but probably a mistake.

    Args:
        config: a valid configuration.
    """
    if config.tls is None and not config.listen.is_loopback:
        yield (
            f"listen: {config.listen} is reachable from other machines without TLS, so tokens and "
            "prompts cross the network in clear: set tls, unless TLS is terminated in front"
            f"{_and_url(config)}"
        )
    url = config.sign_in.url
    if url is not None and url.is_in_clear:
        yield (
            "sign_in.url: passwords and tokens cross the network in clear, and Claude Code signs "
            "in over https:// only: use https://"
        )
    if config.export is not None and config.export.otlp.is_in_clear:
        yield (
            "export.otlp: names of users and what they did cross the network in clear: use https://"
        )
    proxy = config.proxy
    if proxy is not None and proxy.tls is None and not proxy.listen.is_loopback:
        yield (
            f"proxy.listen: {proxy.listen} is reachable from other machines without TLS, so the "
            "Coder token in HTTPS_PROXY crosses the network in clear: set proxy.tls, unless TLS is "
            "terminated in front"
        )
    admin = config.envoy.admin
    if isinstance(admin, TcpAddress) and not admin.is_loopback:
        yield f"envoy.admin: anyone who reaches {admin} can stop Envoy: use a loopback address"
    identity = parse_identity_url(config.identity)
    if isinstance(identity, CoderURL) and identity.base.startswith("http://"):
        host = urlsplit(identity.base).hostname or ""
        if not TcpAddress(host, 80).is_loopback:
            yield "identity: tokens go to Coder in clear: use https://"
    for index, provider in enumerate(config.providers):
        url = provider.base_url
        if url.is_in_clear:
            yield (
                f"providers[{index}].base_url: credentials and prompts go to {url.host} in clear: "
                "use https:// if the provider supports it"
            )
    yield from _base_urls(config, base_url_warning)
    for index, provider in enumerate(config.providers):
        has_rules = config.models is not None and config.models.concern(provider.name)
        if has_rules and provider.type in _WITH_FALLBACKS:
            yield (
                f"providers[{index}]: a request to type {provider.type} can name further models as "
                "fallbacks, which the rules of models do not see: limit the models of the "
                "provider's own key there"
            )


def _and_url(config: Config) -> str:
    """Return what else to set, where pages and metadata would name http:// URLs."""
    is_ours = not isinstance(parse_identity_url(config.identity), CoderURL)
    if not is_ours or config.sign_in.url is not None:
        return ""
    return (
        ": then set sign_in.url to the https:// URL of the gateway, or sign-in with Claude Code, "
        "authz login and OpenID providers is led to http://"
    )


def addresses(config: Config) -> dict[str, Address]:
    """Return the addresses that Envoy and authz listen on, by the path of the key."""
    found: dict[str, Address] = {}
    if known(config, "listen"):
        found["listen"] = config.listen
    if known(config, "authz"):
        service = config.authz
        if known(service, "grpc", "workers"):
            for number, address in enumerate(service.grpc_addresses):
                found[f"authz.grpc ({number})" if number else "authz.grpc"] = address
        if known(service, "http"):
            found["authz.http"] = service.http
        if known(service, "grpc", "envoy_http") and service.http_for_envoy is not None:
            found["authz.envoy_http"] = service.http_for_envoy
    if known(config, "envoy"):
        if known(config.envoy, "admin") and config.envoy.admin is not None:
            found["envoy.admin"] = config.envoy.admin
        elif known(config, "listen", "authz") and known(config.authz, "grpc"):
            found["envoy.admin"] = config.admin_address
        if known(config.envoy, "metrics") and config.envoy.metrics is not None:
            found["envoy.metrics"] = config.envoy.metrics
    if known(config, "proxy") and config.proxy is not None and known(config.proxy, "listen"):
        found["proxy.listen"] = config.proxy.listen
    return found


def _shared_addresses(config: Config) -> Iterator[str]:
    """Yield a message for each address that is used twice."""
    # If authz runs elsewhere, the addresses of Envoy and authz are on different machines.
    is_apart = known(config, "envoy") and any(
        known(config.envoy, name) and getattr(config.envoy, name)
        for name in ("authz_grpc", "authz_http")
    )
    for (first, one), (second, other) in itertools.combinations(addresses(config).items(), 2):
        if is_apart and first.startswith("authz.") != second.startswith("authz."):
            continue
        if _overlap(one, other):
            same = "is" if str(one) == str(other) else "overlaps"
            yield (
                f"{second.partition(' ')[0]}: {other} {same} the address of {first} too: choose "
                "another one"
            )


def _overlap(one: Address, other: Address) -> bool:
    """Return whether two servers can't listen on these addresses at the same time."""
    if isinstance(one, TcpAddress) and isinstance(other, TcpAddress):
        hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
        return one.port == other.port and (len(hosts) == 1 or not hosts.isdisjoint(_WILDCARDS))
    if isinstance(one, TcpAddress) or isinstance(other, TcpAddress):
        return False
    return os.path.abspath(one.path) == os.path.abspath(other.path)


def _export(config: Config) -> Iterator[str]:
    if not known(config, "export", "usage") or config.export is None:
        return
    if not known(config.export, "usage") or not known(config.usage, "enabled"):
        return
    if config.export.usage and not config.usage.enabled:
        yield "export.usage: needs usage.enabled, because Envoy reports no request without it"


def _base_urls(config: Config, said: Callable[..., str | None]) -> Iterator[str]:
    for index, provider in enumerate(config.providers if known(config, "providers") else ()):
        if not known(provider, "type"):
            continue
        for key in ("base_url", "public_url"):
            url = vars(provider).get(key)
            message = None if url is None else said(provider.type, url)
            if message is not None:
                yield f"providers[{index}].{key}: {message}"


def _regions(config: Config) -> Iterator[str]:
    """Yield a message for each region that is not the region of the host."""
    for index, provider in enumerate(config.providers if known(config, "providers") else ()):
        if not known(provider, "aws", "base_url") or provider.aws is None:
            continue
        host = provider.base_url.host
        if host.endswith(".api.aws") and known(provider.aws, "region"):
            region = host.removesuffix(".api.aws").rpartition(".")[2]
            if region != provider.aws.region:
                yield (
                    f"providers[{index}].aws.region: {provider.aws.region} is not the region of "
                    f"{host}: AWS would refuse every signature"
                )


def _bypassed_providers(config: Config) -> Iterator[str]:
    if not known(config, "proxy", "providers") or config.proxy is None:
        return
    hosts = [
        one.native_url.host for one in config.providers if known(one, "base_url", "public_url")
    ]
    for index, host in bypassed(vars(config.proxy).get("no_proxy", ()), hosts):
        yield (
            f"proxy.no_proxy[{index}]: {host} is a provider's host: tools would bypass the gateway"
        )


def _external_routes(config: Config) -> Iterator[str]:
    """Yield a message for each external route to a provider that does not work there."""
    if not known(config, "external_gateways", "providers") or config.external_gateways is None:
        return
    providers = {one.name: one for one in config.providers if known(one, "name", "type")}
    for index, route in enumerate(vars(config.external_gateways).get("routes", ())):
        if not known(route, "provider"):
            continue
        where = f"external_gateways.routes[{index}].provider"
        provider = providers.get(route.provider)
        if provider is None:
            listed = ", ".join(providers)
            yield f"{where}: {route.provider} is not in providers, which has {listed or 'none'}"
        elif provider.provider_type.signed:
            yield (
                f"{where}: {route.provider} has type {provider.type}, whose requests only the "
                "project's own Envoy can sign and rewrite: use another type"
            )


def _unknown_providers(config: Config) -> Iterator[str]:
    """Yield a message for each rule for machines that is limited to a provider that is missing."""
    if not known(config, "providers", "sign_in") or not known(config.sign_in, "machines"):
        return
    machines = config.sign_in.machines
    names = {one.name for one in config.providers if known(one, "name")}
    for index, rule in enumerate(vars(machines).get("rules", ()) if machines else ()):
        for name in vars(rule).get("providers", ()):
            if name not in names:
                yield (
                    f"sign_in.machines.rules[{index}].providers: there is no provider of one of "
                    f"these names: this gateway has {', '.join(sorted(names))}"
                )
                break


def _model_rules(config: Config) -> Iterator[str]:
    """Yield a message for each rule for models that can't work."""
    if not known(config, "models", "identity", "external_gateways") or config.models is None:
        return
    if not known(config.models, "rules") or not all(
        known(rule, "groups", "providers") for rule in config.models.rules
    ):
        return
    is_named = known(config, "providers") and all(known(one, "name") for one in config.providers)
    yield from config.models.problems(
        set(config.provider_names) if is_named else None,
        managed_by_coder=isinstance(parse_identity_url(config.identity), CoderURL),
        has_external_gateways=config.external_gateways is not None,
    )


def _prices(config: Config) -> Iterator[str]:
    """Yield a message for each price that can't apply."""
    if not known(config, "prices") or config.prices is None:
        return
    prices = config.prices
    if known(config, "usage") and known(config.usage, "enabled") and not config.usage.enabled:
        yield "prices: needs usage.enabled, because costs are computed from recorded tokens"
    if not known(config, "providers"):
        return
    names = {one.name for one in config.providers if known(one, "name")}
    used = [(f"prices.books.{name}", name) for name in vars(prices).get("books", ())]
    for index, override in enumerate(vars(prices).get("overrides", ())):
        name = vars(override).get("provider")
        if name is not None:
            used.append((f"prices.overrides[{index}].provider", name))
    for where, name in used:
        if name not in names:
            has = ", ".join(sorted(names))
            yield f"{where}: there is no provider {name}: this gateway has {has}"
