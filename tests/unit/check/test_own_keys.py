"""authz.check.authorizer with the keys that users have stored."""

import base64
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from authz.check.authorizer import Authorizer
from authz.check.ext_authz import metadata_of
from authz.config.key_reference import KeyReference
from authz.config.settings import Config
from authz.core.identity import Identity, Rejection
from authz.core.rules import make_rules
from authz.core.tokens import CoderToken
from authz.keys.pool import KeyPool
from authz.own_keys.keyring import Keyring
from authz.secret import Secret
from tests.support.checks import ANTHROPIC, OPENAI, allows, answer, question
from tests.support.identities import identity_of

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
CENTRAL, STORED, OWN = (f"sk-ant-{word}-0123456789abcdef" for word in ("central", "stored", "own"))
MASTER, OTHER = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
COPILOT = {
    "provider": "copilot",
    "base_url": "https://api.individual.githubcopilot.com/",
    "supported": "true",
}


class _Key:
    # The same object each time, as a file's key is, so that decisions are cached.
    _key = Secret(CENTRAL)

    def current(self) -> Secret | None:
        return self._key


def ring(*keys: str) -> Keyring:
    """Return a ring of these master keys."""
    environ = {f"KEY_{number}": key for number, key in enumerate(keys)}
    return Keyring([KeyReference(env=name) for name in environ], environ)


class _Source:
    """Answers with one identity, which a test replaces."""

    def __init__(self) -> None:
        self.identity: Identity | Rejection = identity_of(TOKEN, "alice")

    def store(self, key: str | None, provider: str = "anthropic", **changes: object) -> None:
        """Give alice a stored key, or none."""
        alice = replace(identity_of(TOKEN, "alice"), **changes)  # type: ignore[arg-type]
        if key is not None:
            envelope = ring(MASTER).newest.seal(Secret(key), alice.user_id, provider)
            alice = replace(alice, own_keys=((provider, envelope),))
        self.identity = alice

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        return self.identity

    async def check_ready(self) -> None:
        return None

    async def close(self) -> None:
        return None


@pytest.fixture
def source() -> _Source:
    """Alice with a stored key for anthropic."""
    made = _Source()
    made.store(STORED)
    return made


def _authorizer(source: _Source, *keys: str, allow_byok: bool = True) -> Authorizer:
    pool = KeyPool("anthropic", [_Key()], has_cooldown=False)
    config = Config(allow_byok=allow_byok)
    return Authorizer(config, source, {"anthropic": pool}, keyring=ring(*(keys or (MASTER,))))


ALONE = question([("x-api-key", TOKEN)])


def _sent(message: bytes) -> dict[str, str]:
    assert allows(message), metadata_of(message)
    response = answer(message).ok_response
    sent = {option.header.key: option.header.value for option in response.headers}
    assert not {*sent} & {*response.headers_to_remove}
    assert TOKEN not in str(message)
    return sent


async def test_the_stored_key_goes_with_the_token_alone(source: _Source) -> None:
    """The token alone gets the stored key, in mode byok; another provider is centralized."""
    authorizer = _authorizer(source)
    for _ in range(2):
        message = await authorizer.check(ALONE)
        assert _sent(message) == {"x-api-key": STORED}
        metadata = metadata_of(message)
        assert (metadata["mode"], metadata["credential_hint"]) == ("byok", "sk-a...cdef")
    source.store("gho_stored_0123456789", "copilot")
    assert _sent(await authorizer.check(ALONE)) == {"x-api-key": CENTRAL}
    message = await authorizer.check(question([("authorization", f"Bearer {TOKEN}")], COPILOT))
    assert _sent(message) == {"authorization": "Bearer gho_stored_0123456789"}


async def test_a_key_of_the_request_wins(source: _Source) -> None:
    """A request with its own credential uses it, also if the stored key can't be decrypted."""
    headers = [("x-coder-ai-governance-token", TOKEN), ("x-api-key", OWN)]
    for keys in ((MASTER,), (OTHER,)):
        message = await _authorizer(source, *keys).check(question(headers))
        assert _sent(message) == {}
        assert "x-api-key" not in answer(message).ok_response.headers_to_remove
        assert metadata_of(message)["mode"] == "byok"


async def test_a_subscription_goes_as_a_bearer(source: _Source) -> None:
    """A stored OAuth token goes where the provider accepts it."""
    source.store("sk-ant-oat01-stored-0123456789")
    sent = _sent(await _authorizer(source).check(ALONE))
    assert sent == {
        "authorization": "Bearer sk-ant-oat01-stored-0123456789",
        "anthropic-beta": "oauth-2025-04-20",
    }


@pytest.mark.parametrize(
    ("rules", "allow_byok", "reason"),
    [
        (["centralized"], True, "token_rule_mode"),
        (["byok"], True, None),
        (None, False, "byok_disabled"),
    ],
)
async def test_rules_and_the_setting_hold(
    source: _Source, rules: list[str] | None, allow_byok: bool, reason: str | None
) -> None:
    """A stored key counts as BYOK for token rules and allow_byok; a refusal uses no central key."""
    source.store(STORED, rules=make_rules(None, rules) if rules else make_rules())
    message = await _authorizer(source, allow_byok=allow_byok).check(ALONE)
    assert allows(message) is (reason is None)
    assert metadata_of(message).get("reason") == reason


async def test_a_wrong_master_key_is_a_503_for_its_users_only(source: _Source) -> None:
    """Without the master key a request is a 503 with a log line; others are served as before."""
    authorizer = _authorizer(source, OTHER)
    with capture_logs() as logs:
        for _ in range(2):
            message = await authorizer.check(ALONE)
            assert answer(message).denied_response.status.code == 503
            assert CENTRAL not in str(message)
    errors = [one for one in logs if one["log_level"] == "error"]
    assert len(errors) == 2
    assert "own_keys.keys" in errors[0]["event"]
    assert STORED not in str(logs)
    openai = await authorizer.check(question([("x-api-key", TOKEN)], OPENAI))
    assert "stored key" not in str(openai)
    source.store(None)
    assert _sent(await authorizer.check(ALONE)) == {"x-api-key": CENTRAL}


async def test_a_master_key_may_come_back(source: _Source, tmp_path: Path) -> None:
    """The refusal is not cached: once the file is right, the next request is served."""
    file = tmp_path / "master"
    pool = KeyPool("anthropic", [_Key()], has_cooldown=False)
    keyring = Keyring([KeyReference(file=file)], {})
    authorizer = Authorizer(Config(), source, {"anthropic": pool}, keyring=keyring)
    # An allow is cached first, for the same request.
    source.store(None)
    assert _sent(await authorizer.check(ALONE)) == {"x-api-key": CENTRAL}
    source.store(STORED)
    assert not allows(await authorizer.check(ALONE))
    assert not allows(await authorizer.check(ALONE))
    file.write_text(MASTER)
    assert _sent(await authorizer.check(ALONE)) == {"x-api-key": STORED}


async def test_a_stale_identity_gives_no_stored_key(source: _Source) -> None:
    """While the store is down, a user with a stored key gets a 503 instead of either key."""
    source.store(STORED, stale=True)
    message = await _authorizer(source).check(ALONE)
    assert metadata_of(message)["reason"] == "own_key_unreadable"
    source.store(None, stale=True)
    assert _sent(await _authorizer(source).check(ALONE)) == {"x-api-key": CENTRAL}


_STATES = tuple(
    itertools.product(
        (None, STORED, "sk-ant-second-0123456789", "sk-ant-oat01-third-0123456"),
        ("anthropic", "openai"),
        (None, ["centralized"], ["byok"]),
    )
)
_REQUESTS = (
    ALONE,
    question([("authorization", f"Bearer {TOKEN}")]),
    question([("x-coder-ai-governance-token", TOKEN)]),
    question([("x-coder-ai-governance-token", TOKEN), ("x-api-key", OWN)]),
    question([("x-api-key", TOKEN)], {**ANTHROPIC, "keyless": "true", "central_key": "false"}),
    question([("x-api-key", TOKEN)], {**ANTHROPIC, "supported": "own"}),
    question([("x-api-key", TOKEN)], OPENAI),
)


@given(st.lists(st.tuples(st.sampled_from(_STATES), st.sampled_from(_REQUESTS)), max_size=12))
async def test_the_cache_changes_no_answer(
    steps: list[tuple[tuple[str | None, str, list[str] | None], bytes]],
) -> None:
    """An authorizer with a cache answers like a new one, whatever was stored before."""
    source = _Source()
    cached = _authorizer(source)
    for (key, provider, rules), request in steps:
        source.store(key, provider, rules=make_rules(None, rules) if rules else make_rules())
        first, second = await cached.check(request), await _authorizer(source).check(request)
        one, other = answer(first), answer(second)
        for response in (one, other):
            response.dynamic_metadata.fields.pop("entry", None)
        assert one == other
        if key is not None:
            assert provider == "anthropic" or key not in str(one) or request is _REQUESTS[-1]
