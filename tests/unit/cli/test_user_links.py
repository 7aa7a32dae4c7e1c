"""authz users link and unlink."""

from pathlib import Path

import pytest

from authz.errors import StoreError

from .conftest import Run

_ISSUER = "https://acme.okta.com"


@pytest.fixture
def linked(run: Run) -> Run:
    """A configuration with a provider, and the users alice, bob and the machine bot."""
    Path("gateway.yaml").write_text(
        f"sign_in:\n  oidc:\n    - {{name: okta, issuer: '{_ISSUER}', client_id: a}}\n"
    )
    for name in ("alice", "bob"):
        run("users", "create", name)
    run("users", "create", "bot", "--service-account")
    run("users", "link", "alice", "--issuer", _ISSUER, "--subject", "00u1")
    return run


def test_link_and_unlink(linked: Run) -> None:
    """A link is listed, in the audit log, and gone after it was removed."""
    assert linked("users", "link", "alice", "--list").stdout == f"{_ISSUER} 00u1\n"
    assert "1 link of alice removed." in linked("users", "unlink", "alice").stdout
    assert linked("users", "link", "alice", "--list").stdout == ""
    log = linked("audit").stdout
    assert " link " in log
    assert " unlink " in log


@pytest.mark.parametrize(
    ("name", "issuer", "subject", "text"),
    [
        ("bob", _ISSUER, "00u1", "signs in as alice"),
        ("bot", _ISSUER, "00u2", "service account"),
        ("bob", "https://other.test", "00u2", "--issuer is not one of sign_in.oidc"),
        ("bob", _ISSUER, "", "a subject has 1 to 255"),
    ],
)
def test_refused(linked: Run, name: str, issuer: str, subject: str, text: str) -> None:
    """A subject has one user, who is a person, at an issuer that people can sign in with."""
    result = linked(
        "users", "link", name, "--issuer", issuer, "--subject", subject, fails=StoreError
    )
    assert text in str(result.exception)
    assert linked("users", "link", name, "--list").stdout == ""


def test_incomplete(linked: Run) -> None:
    """An issuer without a subject is a wrong use of the command."""
    linked("users", "link", "bob", "--issuer", _ISSUER, fails=2)
