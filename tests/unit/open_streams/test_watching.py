"""authz.open_streams.watching with real sources: which requests in progress end."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from authz.check.authorizer import Authorizer
from authz.check.ext_authz import Check, write_route
from authz.check.recheck import Recheck
from authz.config.settings import Config
from authz.core.identity import IdentitySource
from authz.core.rules import make_rules
from authz.errors import IdentityUnreachable
from authz.identity.sqlite_source import SQLiteSource
from authz.identity.store import Store
from authz.keys.pool import KeyPool
from authz.open_streams.messages import GO_ON, Kind
from authz.open_streams.metrics import StreamMetrics
from authz.open_streams.watching import OpenStreams
from authz.pb import ext_proc_pb2 as pb
from authz.secret import Secret
from tests.support.checks import ANTHROPIC

ROUTE = write_route(ANTHROPIC)


class _Central:
    _key = Secret("sk-ant-central-0123456789")

    def current(self) -> Secret | None:
        return self._key


def request_headers(token: str, header: str = "x-api-key") -> bytes:
    """Return what Envoy sends at the begin of a request."""
    message = pb.ProcessingRequest()
    for name, value in ((":path", "/anthropic/v1/messages"), (header, token)):
        one = pb.HeaderValue(key=name, raw_value=value.encode())
        message.request_headers.headers.headers.append(one.SerializeToString())
    return message.SerializeToString()


class _Opened:
    """A request in progress, and what authz has sent about it."""

    def __init__(self, streams: OpenStreams, message: bytes) -> None:
        self.sent: list[bytes] = []
        self.conversation = streams.open(ROUTE, self.sent.append)
        assert self.conversation.receive(message) == GO_ON[Kind.REQUEST_HEADERS]

    @property
    def ending(self) -> pb.ImmediateResponse | None:
        """The message that ends it, if there is one."""
        if not self.sent:
            return None
        (message,) = self.sent
        return pb.ProcessingResponse.FromString(message).immediate_response


class _Asked:
    """Counts the questions to an authorizer."""

    def __init__(self, source: IdentitySource) -> None:
        keys = {"anthropic": KeyPool("anthropic", [_Central()], has_cooldown=False)}
        self.authorizer = Authorizer(Config(), source, keys)
        self.count = 0
        self.is_away = False

    async def ask(self, check: Check) -> Recheck:
        self.count += 1
        if self.is_away:
            raise IdentityUnreachable("the database is away")
        return await self.authorizer.recheck(check)


@pytest.fixture
def asked(any_source: IdentitySource) -> _Asked:
    """The authorizer of SQLite and of PostgreSQL."""
    return _Asked(any_source)


@pytest.fixture
def registry() -> CollectorRegistry:
    """The registry that counts the requests."""
    return CollectorRegistry()


@pytest.fixture
def streams(asked: _Asked, any_source: IdentitySource, registry: CollectorRegistry) -> OpenStreams:
    """The requests in progress."""
    state: Callable[[], object | None] = getattr(any_source, "state", lambda: None)
    return OpenStreams(asked.ask, state, StreamMetrics(registry))


pytestmark = pytest.mark.usefixtures("patient")


async def test_what_ends_a_request(
    any_store: Store, streams: OpenStreams, registry: CollectorRegistry
) -> None:
    """A deleted token, a suspended user, an ended token and a changed rule end it, each alone."""
    alice, bob = await any_store.create_user("alice"), await any_store.create_user("bob")
    deleted = (await any_store.create_token(alice))[0]
    short = (await any_store.create_token(alice, None, timedelta(seconds=0.5)))[0]
    others = (await any_store.create_token(bob))[0]
    kept = (await any_store.create_token(alice))[0]
    opened = [_Opened(streams, request_headers(one)) for one in (deleted, short, others, kept)]
    twice = _Opened(streams, request_headers(deleted, "x-coder-ai-governance-token"))
    await streams.sweep()

    key = await any_store.find_token(deleted)
    assert key is not None
    await any_store.delete_token(key)
    await any_store.set_status(bob, "suspended")
    while opened[1].ending is None:
        await streams.sweep()
    endings = [one.ending for one in (*opened, twice)]
    assert [one and (one.status.code, one.details) for one in endings] == [
        (401, "authz_token_unknown"),
        (401, "authz_token_expired"),
        (401, "authz_user_inactive"),
        None,
        (401, "authz_token_unknown"),
    ]
    assert b"authentication_error" in endings[0].body if endings[0] else False
    assert registry.get_sample_value("authz_open_streams") == 1
    reason = {"reason": "token_unknown"}
    assert registry.get_sample_value("authz_streams_ended_total", reason) == 2

    rules = make_rules(providers=["openai"])
    group = await any_store.create_group("research", rules=rules)
    await any_store.add_members(group, [alice])
    await streams.sweep()
    assert opened[3].ending is not None
    assert opened[3].ending.status.code == 403


async def test_an_outage_ends_nothing(
    any_store: Store, streams: OpenStreams, asked: _Asked
) -> None:
    """Requests continue while the source is away; changes in that time end them later."""
    user = await any_store.create_user("alice")
    token, key = await any_store.create_token(user)
    opened = _Opened(streams, request_headers(token))
    await streams.sweep()
    await any_store.delete_token(key)
    asked.is_away = True
    await streams.sweep()
    assert opened.ending is None
    asked.is_away = False
    await streams.sweep()
    assert opened.ending is not None


async def test_a_request_that_is_over_is_forgotten(
    any_store: Store, streams: OpenStreams, registry: CollectorRegistry
) -> None:
    """The end of a request is counted once, and no later sweep asks about it."""
    user = await any_store.create_user("alice")
    token, key = await any_store.create_token(user)
    first, second = (_Opened(streams, request_headers(token)) for _ in range(2))
    first.conversation.ended()
    first.conversation.ended()
    await any_store.delete_token(key)
    await streams.sweep()
    assert first.ending is None
    assert second.ending is not None
    second.conversation.ended()
    assert registry.get_sample_value("authz_open_streams") == 0


async def test_a_quiet_file_is_not_asked_again(
    store: Store, path: Path, registry: CollectorRegistry
) -> None:
    """With SQLite nothing is asked until a commit, also of another process, changes the file."""
    source = SQLiteSource(path)
    asked = _Asked(source)
    streams = OpenStreams(asked.ask, source.state, StreamMetrics(registry))
    token, _ = await store.create_token(await store.create_user("alice"))
    _Opened(streams, request_headers(token))
    for _ in range(3):
        await streams.sweep()
    assert asked.count == 1
    await store.create_user("bob")
    await streams.sweep()
    assert asked.count == 2
    await source.close()


async def test_what_is_no_request(streams: OpenStreams) -> None:
    """Messages and routes that can't be read end nothing and raise nothing."""
    sent: list[bytes] = []
    for route in (ROUTE, "", "%%%", "AAAA"):
        for message in (b"", b"\x12\x05abc", b"\xff" * 9):
            streams.open(route, sent.append).receive(message)
    streams.open("%%%", sent.append).receive(b"\x12\x00")
    await streams.sweep()
    assert sent == []
