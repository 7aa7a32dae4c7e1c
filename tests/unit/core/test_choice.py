"""authz.core.choice."""

from authz.core.choice import with_further, with_key
from authz.core.decision_types import FurtherCredential, FurtherKey
from authz.core.providers import PROVIDER_TYPES
from authz.core.rules import Mode
from authz.secret import Secret

KEY, OTHER = Secret("sk-ant-api03-first-0123"), Secret("sk-ant-api03-other-4567")
OAUTH = Secret("sk-ant-oat01-subscription-89ab")
ANTHROPIC = PROVIDER_TYPES["anthropic"]


def test_keys_for_the_same_header_follow() -> None:
    """A further key has the form of its header and its own hint and place."""
    openai = PROVIDER_TYPES["openai"]
    first = with_key(Mode.CENTRALIZED, openai, KEY, 0)
    found = with_further(first, openai, [FurtherKey(OTHER, 2)])
    assert found.further == (FurtherCredential(Secret(f"Bearer {OTHER.reveal()}"), OTHER.hint, 2),)


def test_a_key_for_another_header_does_not_follow() -> None:
    """Anthropic's OAuth tokens and API keys use different headers: neither replaces the other."""
    first = with_key(Mode.CENTRALIZED, ANTHROPIC, KEY, 0)
    assert with_further(first, ANTHROPIC, [FurtherKey(OAUTH, 1)]) is first
    mixed = with_further(first, ANTHROPIC, [FurtherKey(OAUTH, 1), FurtherKey(OTHER, 2)])
    assert [one.key_index for one in mixed.further] == [2]
