"""The credentials that the stand-in accepts."""

import pytest

from authz.demo.accounts import TYPES, Presented, present
from tests.support.provider import Accounts

CENTRAL = {"anthropic": "sk-ant-central-0123456789", "openai": "sk-openai-central-0123456789"}
OWN = {"anthropic": "sk-ant-own-0123456789abcdef", "openai": "sk-own-0123456789abcdef"}
ACCOUNTS = Accounts(central=CENTRAL, own=frozenset(OWN.values()))
CODER = "abcdefghij-0123456789abcdefghijkl"


def accepted(accounts: Accounts, provider: str, value: str) -> str | None:
    """Return the kind under which a value is accepted, or None."""
    credential = accounts.accept(provider, Presented("authorization", value))
    return credential.kind if credential else None


@pytest.mark.parametrize(
    ("provider", "value"),
    [
        ("anthropic", "sk-ant-api03-x"),
        ("openai", "sk-proj-x"),
        ("chatgpt", "eyJhbGciOiJ.x.y"),
        ("chatgpt", "sk-proj-x"),
        ("copilot", "gho_1234"),
        ("copilot", "ghu_1234"),
        ("copilot", "ghp_1234"),
        ("copilot", "github_pat_1"),
        ("copilot", "tid=1234;exp=5"),
    ],
)
def test_lenient_accepts_the_shape(provider: str, value: str) -> None:
    """Without a list of own keys, a value in the form of the provider's keys is accepted."""
    assert accepted(Accounts(), provider, value) == "byok"


@pytest.mark.parametrize(
    ("provider", "value"),
    [
        ("anthropic", "sk-proj-12345"),
        ("openai", "eyJhbGciOiJ"),
        ("copilot", "sk-ant-12345"),
        ("openai", "sk-1234"),
        ("openai", "sk-wrong-12345"),
        ("openai", "sk-12345,sk-67890"),
        ("openai", "sk-12345 sk-67890"),
        ("openai", "sk-12345é"),
        ("openai", ""),
    ],
)
def test_lenient_refuses_the_rest(provider: str, value: str) -> None:
    """Another provider's form, a short or joined value, and one with `wrong` in it are refused."""
    assert accepted(Accounts(), provider, value) is None


@pytest.mark.parametrize("provider", TYPES)
def test_coder_token_is_always_wrong(provider: str) -> None:
    """A Coder token is refused even where it is listed as central and as own key."""
    accounts = Accounts(central={provider: CODER}, own=frozenset({CODER}))
    assert accepted(accounts, provider, CODER) is None
    assert accepted(Accounts(), provider, CODER) is None


def test_strict_accepts_only_the_listed_keys() -> None:
    """With a list of own keys, their shape no longer helps."""
    assert accepted(ACCOUNTS, "anthropic", OWN["anthropic"]) == "byok"
    assert accepted(ACCOUNTS, "anthropic", OWN["anthropic"] + "x") is None
    assert accepted(ACCOUNTS, "anthropic", CENTRAL["anthropic"]) == "centralized"


def test_every_key_of_a_pool_is_central() -> None:
    """The further keys of a provider are accepted as central, and nowhere else."""
    further = {"anthropic": ("sk-ant-second-0123456789", "sk-ant-third-0123456789")}
    accounts = Accounts(central=CENTRAL, further=further)
    for value in (CENTRAL["anthropic"], *further["anthropic"]):
        assert accepted(accounts, "anthropic", value) == "centralized"
        assert accepted(accounts, "openai", value) is None


@pytest.mark.parametrize("own", [None, frozenset({CENTRAL["openai"]})])
def test_a_central_key_is_wrong_elsewhere(own: frozenset[str] | None) -> None:
    """A central key that leaks to another provider doesn't pass there as an own one."""
    accounts = Accounts(central=CENTRAL, own=own)
    assert accepted(accounts, "chatgpt", CENTRAL["openai"]) is None
    assert accepted(accounts, "openai", CENTRAL["openai"]) == "centralized"


def test_a_provider_without_a_central_key_has_none() -> None:
    """A provider without a central key does not accept an empty value."""
    assert accepted(Accounts(own=frozenset({""})), "copilot", "") is None


@pytest.mark.parametrize(
    ("kind", "headers", "expected"),
    [
        ("anthropic", [("x-api-key", "k")], Presented("x-api-key", "k")),
        ("anthropic", [("authorization", "bearer  k")], Presented("authorization", "k")),
        (
            "anthropic",
            [("authorization", "Bearer k"), ("x-api-key", "k")],
            Presented("x-api-key", "k", ambiguous=True),
        ),
        (
            "anthropic",
            [("x-api-key", "k"), ("x-api-key", "k")],
            Presented("x-api-key", "k", ambiguous=True),
        ),
        ("anthropic", [("authorization", "Basic k")], Presented()),
        (
            "anthropic",
            [("authorization", "Basic k"), ("x-api-key", "k")],
            Presented("x-api-key", "k", ambiguous=True),
        ),
        ("openai", [("x-api-key", "k")], Presented()),
        (
            "openai",
            [("x-api-key", "j"), ("authorization", "Bearer k")],
            Presented("authorization", "k"),
        ),
        (
            "copilot",
            [("authorization", "Bearer k"), ("authorization", "Bearer l")],
            Presented("authorization", "k", ambiguous=True),
        ),
        ("chatgpt", [], Presented()),
    ],
)
def test_where_the_credential_is_read(
    kind: str, headers: list[tuple[str, str]], expected: Presented
) -> None:
    """Anthropic reads two headers and refuses both at once; the others read Authorization only."""
    assert present(kind, headers) == expected


def test_ambiguous_is_refused() -> None:
    """A right key that was sent twice is refused."""
    twice = Presented("x-api-key", CENTRAL["anthropic"], ambiguous=True)
    assert ACCOUNTS.accept("anthropic", twice) is None


def test_unknown_type_is_refused_at_once() -> None:
    """A mount of a type that can't be imitated is an error that names it."""
    with pytest.raises(ValueError, match="mainframe"):
        Accounts(types={"aws": "mainframe"})


def test_no_repr_shows_a_key() -> None:
    """Accounts and credentials can be printed without giving a key away."""
    credential = ACCOUNTS.accept("openai", Presented("authorization", OWN["openai"]))
    shown = f"{ACCOUNTS!r} {credential!r} {credential}"
    assert not [key for key in (*CENTRAL.values(), *OWN.values()) if key in shown]
    assert str(credential) == "byok, sk-o...cdef in authorization"
