"""Fixtures that the tests of every folder use."""

import contextlib
import functools
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# gRPC's handlers around a fork break the programs that tests start.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import httpx
import hypothesis
import pytest

from tests.support import every_type as every
from tests.support.pair import Pair, Provider, pair, stand_in
from tests.support.transports import transport_settings

_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
"""The limit on inotify instances: each file that an Envoy watches takes one of a user's 128, and
tests run many Envoys."""
with contextlib.suppress(OSError, ValueError):
    if int(_INSTANCES.read_text()) < 1024:
        # Allowed to root, as in a CI container; others have to do with what there is.
        _INSTANCES.write_text("1024")

# On a busy machine an example may take any time.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")


def _trust_once() -> None:
    """Let all clients of httpx that trust the public CAs share one context.

    Reading the CAs takes 20 ms, which every client and every ``httpx.get`` of a test would spend.
    Only tests use httpx: nothing in authz does.
    """
    transport: Any = httpx._transports.default
    create: Callable[..., ssl.SSLContext] = transport.create_ssl_context

    @functools.cache
    def public(_cafile: str | None, _capath: str | None) -> ssl.SSLContext:
        return create()

    def create_ssl_context(
        verify: Any = True, cert: Any = None, trust_env: bool = True
    ) -> ssl.SSLContext:
        if verify is True and cert is None and trust_env:
            return public(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return create(verify=verify, cert=cert, trust_env=trust_env)

    transport.create_ssl_context = create_ssl_context


_trust_once()

# An answer may take longer on a busy machine than the five seconds that httpx waits.
for _part in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _part, 60.0)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """Forget the failed tests of a run that broke off, so that CI does not take them for all."""
    whole = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if session.config.cache is not None and exitstatus not in whole:
        session.config.cache.set("cache/lastfailed", {})


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """A stand-in provider for the whole session."""
    with stand_in() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair with the default policy: BYOK is on."""
    authz = transport_settings(tmp_path_factory.mktemp("gateway"))
    with pair(provider, authz=authz) as running:
        running.create_user("alice")
        running.create_user("bob")
        yield running


@pytest.fixture(scope="session")
def gateway_without_byok(
    provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """A pair with BYOK switched off."""
    authz = transport_settings(tmp_path_factory.mktemp("gateway-without-byok"))
    with pair(provider, authz=authz, allow_byok=False) as running:
        running.create_user("alice")
        running.create_user("bob")
        yield running


@pytest.fixture(scope="session")
def every_upstream() -> Iterator[Provider]:
    """A stand-in for the provider types that a fresh installation lacks."""
    with every.stand_in() as running:
        yield running


@pytest.fixture(scope="session")
def every_type(
    every_upstream: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """A pair with a provider of every other type, which tells models the name of the user."""
    folder = tmp_path_factory.mktemp("every-type")
    with every.pair_of_every_type(every_upstream, folder, send_actor_headers=True) as running:
        yield running


@pytest.fixture(scope="session")
def every_type_without_byok(
    every_upstream: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """The same with BYOK switched off, and without users' names for models."""
    folder = tmp_path_factory.mktemp("every-type-without-byok")
    with every.pair_of_every_type(every_upstream, folder, allow_byok=False) as running:
        yield running
