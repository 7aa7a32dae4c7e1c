"""authz.check.tags: the project and the session that a client names."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.check import tags
from authz.check.authorizer import Authorizer
from authz.check.ext_authz import Check, metadata_of, read
from authz.check.tags import NO_TAGS, OTHER, TagReader, Tags
from authz.config.observability import Usage
from authz.config.settings import Config
from authz.core.tokens import without_tokens
from tests.support.checks import question
from tests.support.identities import InMemoryIdentities

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
SESSION = "e83fff77-59df-4bbf-a4bb-f539a056d6a6"
_DAY = 86_400


def _check(*headers: tuple[str, str | bytes]) -> Check:
    return read(question(headers))


def _project(name: str | bytes) -> Check:
    return _check(("x-coder-ai-gateway-project", name))


@pytest.mark.parametrize("header", ["x-claude-code-session-id", "session-id"])
def test_project_and_session_are_read(header: str) -> None:
    """The project is as the client wrote it; the session is that of Claude Code or Codex."""
    check = _check(("x-coder-ai-gateway-project", " web shop "), (header, SESSION))
    assert TagReader().read(check, "alice") == Tags("web shop", SESSION)
    assert TagReader().read(_check(), "alice") is NO_TAGS


@pytest.mark.parametrize("session", ["short", "x" * 65, "a b c d e f", TOKEN, "..--..--..", ""])
def test_what_is_no_session_id_is_left_out(session: str) -> None:
    """A session id has a form; a token in its place is not kept."""
    assert TagReader().read(_check(("session-id", session)), "alice") is NO_TAGS


@given(st.binary(max_size=200), st.sampled_from([b"", TOKEN.encode()]))
def test_any_bytes_give_one_short_printable_word_without_a_token(text: bytes, token: bytes) -> None:
    """The name is short, printable and without a token, whatever a client sends."""
    value = b"%b %b %b" % (text[:100], token, text[100:])
    name = TagReader().read(_project(value), "alice").project
    assert len(name) <= tags.MAX_LENGTH
    assert name.isprintable()
    assert without_tokens(name) == name
    assert TOKEN[-10:] not in name


def test_a_token_at_the_cut_leaves_no_half() -> None:
    """A token that the maximum length would cut is masked as a whole."""
    name = TagReader().read(_project("x" * 45 + " " + TOKEN), "alice").project
    assert TOKEN[11:24] not in name


def test_each_user_has_a_number_of_names_a_day() -> None:
    """Above the daily limit new names become one; known names and other users are unaffected."""
    now = [5.0 * _DAY]
    reader = TagReader(lambda: now[0])
    names = [f"p{number}" for number in range(tags.PROJECTS_PER_DAY + 5)]
    found = [reader.read(_project(name), "alice").project for name in names]
    assert found == names[:-5] + [OTHER] * 5
    assert reader.read(_project("p3"), "alice").project == "p3"
    assert reader.read(_project("p104"), "bob").project == "p104"
    now[0] += _DAY
    assert reader.read(_project("p104"), "alice").project == "p104"


def test_all_users_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """All users together have a limit of names, which bounds the memory of a process."""
    monkeypatch.setattr(tags, "NAMES_PER_DAY", 2)
    reader = TagReader()
    found = [reader.read(_project("p"), f"user{number}").project for number in range(3)]
    assert found == ["p", "p", OTHER]


@pytest.mark.parametrize("is_on", [True, False])
def test_the_answer_has_the_tags_of_a_known_user(is_on: bool) -> None:
    """With tags on, the metadata of an allow has them; those of a refusal do not."""
    usage = Usage(tags=is_on)
    authorizer = Authorizer(Config(usage=usage), InMemoryIdentities({TOKEN: "alice"}), {})
    headers = [("x-coder-ai-gateway-project", "shop"), ("session-id", SESSION)]
    own = [("x-coder-ai-governance-token", TOKEN), ("x-api-key", "sk-ant-own"), *headers]
    metadata = metadata_of(asyncio.run(_answer(authorizer, own)))
    assert metadata["decision"] == "allow"
    expected = ("shop", SESSION) if is_on else (None, None)
    assert (metadata.get("project"), metadata.get("session")) == expected
    metadata = metadata_of(asyncio.run(_answer(authorizer, headers)))
    assert metadata["decision"] == "deny"
    assert "project" not in metadata


async def _answer(authorizer: Authorizer, headers: list[tuple[str, str]]) -> bytes:
    return await authorizer.check(question(headers))
