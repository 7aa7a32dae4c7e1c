"""Sends one request to each provider with each central key, for ``authz providers test``."""

import asyncio
import configparser
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from authz import __version__
from authz.certificates.trust import system_roots
from authz.config.key_reference import KeyReference
from authz.config.provider_status import provider_statuses
from authz.config.providers import Aws
from authz.config.settings import Config, Provider
from authz.config.uses import unusable_authorities

_MAX_AT_ONCE = 8
_PATHS = {
    "anthropic": "/v1/models?limit=1",
    "azure": "/openai/v1/models",
    "gemini": "/v1beta/models?pageSize=1",
    "bedrock": "/v1/models",
    # Their lists of models are public; these paths show the account of the key.
    "openrouter": "/key",
    "vercel": "/credits",
}
"""The cheapest request of each type that needs the key, relative to the base URL."""
_OPENAI_PATH = "/models"
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"authz/{__version__}",
    "Anthropic-Version": "2023-06-01",
}
_MEANINGS = {
    400: "the provider does not understand the request: check type and base_url",
    401: "the provider refuses the key: replace it",
    402: "the key's account has no credit: add credit, or use another key",
    403: "the key lacks a permission: check the key and its account",
    404: "the path does not exist: check base_url; some servers have no list of models",
    407: "the company's proxy requires a credential, which upstream_proxy does not support",
    429: "too many requests, or no quota left: check the account's limits",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """The result for one key of one provider.

    Attributes:
        key: the place of the key, such as ``$OPENAI_API_KEY``; empty without a key.
        status: HTTP status of the answer; None without an answer.
        text: the meaning of the result, and what to do.
        failed: whether requests with this key fail.
    """

    provider: str
    key: str
    status: int | None
    text: str
    failed: bool = False


async def probe(
    config: Config, providers: Sequence[Provider], environ: Mapping[str, str], seconds: float
) -> list[Probe]:
    """Ask each provider with each of its central keys.

    Args:
        config: a valid configuration.
        providers: the providers to test.
        environ: the environment with the central keys.
        seconds: the time limit of each request.

    Returns:
        The results in the order of the providers and keys, without keys or parts of answers.
    """
    statuses = {status.name: status for status in provider_statuses(config, environ)}
    turn = asyncio.Semaphore(_MAX_AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=seconds)
    # A key goes to the provider and nowhere else: no proxy of the environment, no redirect.
    async with aiohttp.ClientSession(
        timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), headers=_HEADERS
    ) as session:

        async def one(provider: Provider, reference: KeyReference) -> Probe:
            async with turn:
                return await _ask_with(session, config, provider, reference, environ)

        async def signed(provider: Provider, aws: Aws) -> Probe:
            async with turn:
                return await _ask_signed(session, config, provider, aws)

        async def keyless(provider: Provider) -> Probe:
            async with turn:
                return await _ask_without(session, config, provider)

        waiting = []
        for provider in providers:
            if provider.aws is not None:
                waiting.append(signed(provider, provider.aws))
            elif provider.is_open:
                waiting.append(keyless(provider))
            elif statuses[provider.name].central or _has_required_key(provider):
                waiting += [one(provider, reference) for _, reference in provider.key_references]
            else:
                waiting.append(_untested(provider.name, statuses[provider.name].text))
        return await asyncio.gather(*waiting)


def _has_required_key(provider: Provider) -> bool:
    """Return whether a key of a provider has to be there: only a variable may be unset."""
    return any(reference.env is None for _, reference in provider.key_references)


async def _untested(name: str, text: str) -> Probe:
    own = "own credential only"
    return Probe(name, "", None, own if text == "own key only" else f"{own} ({text})")


async def _ask_with(
    session: aiohttp.ClientSession,
    config: Config,
    provider: Provider,
    reference: KeyReference,
    environ: Mapping[str, str],
) -> Probe:
    where = reference.place
    try:
        key = (await asyncio.to_thread(reference.open, environ)).current()
    except OSError as error:
        return Probe(provider.name, where, None, error.strerror or "can't be read", failed=True)
    except ValueError as error:
        return Probe(provider.name, where, None, str(error), failed=True)
    if key is None:
        return Probe(provider.name, where, None, "not set")
    kind = provider.provider_type
    name, value = kind.credential(key.reveal())
    headers = {name: value}
    if kind.is_bearer(key.reveal()):
        headers |= dict(kind.bearer_headers)
    status, why = await _get(session, config, provider, headers)
    if status is None:
        return Probe(provider.name, where, None, why, failed=True)
    if not 200 <= status < 300:
        return Probe(provider.name, where, status, _meaning(provider, status), failed=True)
    without, _ = await _get(session, config, provider, {})
    if without is not None and 200 <= without < 300:
        text = "reachable; it also answers without a key, so the key could not be checked"
    else:
        text = "the key works"
    return Probe(provider.name, where, status, text)


async def _ask_without(session: aiohttp.ClientSession, config: Config, provider: Provider) -> Probe:
    """Ask a provider that takes no key."""
    status, why = await _get(session, config, provider, {})
    if status is None:
        return Probe(provider.name, "", None, why, failed=True)
    if status in (401, 403):
        text = "the provider requires a key: replace key: none with a key"
        return Probe(provider.name, "", status, text, failed=True)
    if not 200 <= status < 300:
        return Probe(provider.name, "", status, _meaning(provider, status), failed=True)
    return Probe(provider.name, "", status, "reachable; it takes no key")


async def _ask_signed(
    session: aiohttp.ClientSession, config: Config, provider: Provider, aws: Aws
) -> Probe:
    """Check AWS credentials except for the signature: only Envoy signs with them."""
    if problem := _profile_problem(aws):
        return Probe(provider.name, str(aws.credentials_file), None, problem, failed=True)
    status, why = await _get(session, config, provider, {})
    where = "AWS default chain" if aws.credentials_file is None else str(aws.credentials_file)
    if status is None or status >= 500:
        text = why if status is None else _meaning(provider, status)
        return Probe(provider.name, where, status, text, failed=True)
    read = "" if aws.credentials_file is None else f"; profile {aws.profile} is in the file"
    text = f"reachable{read}; Envoy signs the requests, so the credentials could not be checked"
    return Probe(provider.name, where, status, text)


def _profile_problem(aws: Aws) -> str | None:
    if aws.credentials_file is None:
        return None
    profiles = configparser.RawConfigParser()
    try:
        with aws.credentials_file.open(encoding="utf-8") as file:
            profiles.read_file(file)
    except OSError as error:
        return f"{error.strerror}: run this on Envoy's machine, as Envoy's user"
    except (configparser.Error, UnicodeDecodeError):
        # The parser's text quotes the line, which can be the secret.
        return "is not a valid file of AWS credentials"
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        if not profiles.get(aws.profile, name, fallback=""):
            return f"profile {aws.profile} has no {name}"
    return None


async def _get(
    session: aiohttp.ClientSession, config: Config, provider: Provider, headers: Mapping[str, str]
) -> tuple[int | None, str]:
    """Return the status of the answer, or None and the reason why there is no answer."""
    base = provider.base_url
    url = URL(f"{base}".rstrip("/") + _PATHS.get(provider.type, _OPENAI_PATH), encoded=True)
    upstream = config.proxy.upstream_proxy if config.proxy is not None else None
    if upstream is not None and not base.tls:
        # Envoy tunnels; this client would hand the request to the proxy itself.
        return None, "an http:// provider behind upstream_proxy can't be tested"
    if provider.ca_file is not None and (problem := unusable_authorities(provider.ca_file)):
        return None, f"ca_file: {problem}"
    try:
        tls = ssl.create_default_context(cafile=provider.ca_file or system_roots())
        async with session.get(
            url,
            headers=headers,
            allow_redirects=False,
            ssl=tls,
            proxy=None if upstream is None else str(upstream),
        ) as response:
            return response.status, ""
    except TimeoutError:
        return None, f"no answer within {session.timeout.total:g} s: check base_url and firewalls"
    except (aiohttp.ClientError, OSError) as error:
        return None, _cause(error, provider)


def _meaning(provider: Provider, status: int) -> str:
    if 300 <= status < 400:
        return "it redirects, which the gateway does not follow: check base_url"
    if status == 400 and provider.type == "gemini":
        return "the provider refuses the key: replace it"
    if status >= 500:
        return "the provider has an internal error: try again later"
    return _MEANINGS.get(status, "unexpected status: check type and base_url")


def _cause(error: Exception, provider: Provider) -> str:
    """Return the cause of an error. aiohttp's text is not used: it can quote the request."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "no reason given"
            return f"its certificate is not trusted ({why}): set ca_file if it has a private CA"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name {provider.base_url.host} is unknown: check base_url"
        case aiohttp.ClientProxyConnectionError():
            return "the company's proxy can't be reached: check proxy.upstream_proxy"
        case aiohttp.ClientHttpProxyError():
            return f"the company's proxy refuses the tunnel with {error.status}"
        case aiohttp.ClientConnectorSSLError():
            return "it does not speak TLS on this port: check base_url"
        case OSError():
            # aiohttp adds the address to its text.
            why = os.strerror(error.errno) if error.errno else "the connection failed"
            return f"{why}: check base_url and firewalls"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer: check base_url"
        case _:
            return f"its answer is not HTTP ({type(error).__name__}): check base_url"
