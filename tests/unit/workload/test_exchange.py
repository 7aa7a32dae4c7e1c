"""authz.workload.exchange: the documented exchanges, against token endpoints that check them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.config.key_reference import KeyReference
from authz.keys.exec_key import close_others
from tests.support.certificates import Authority
from tests.support.vendors import CREDENTIALS, JWT, Vendors, vendors


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the vendors."""
    return Authority(tmp_path_factory.mktemp("vendors"), "vendors-ca")


@pytest.fixture(scope="module")
def _running(authority: Authority) -> Iterator[Vendors]:
    with vendors(authority.issue()) as running:
        yield running


@pytest.fixture
def vendor(_running: Vendors) -> Iterator[Vendors]:
    """The vendors, as they are at first."""
    _running.lifetime, _running.answer = 3600, None
    _running.calls.clear()
    yield _running
    for key in close_others((), forget=True):
        key.join()


class Workload:
    """A workload that the vendors accept."""

    def __init__(self, vendor: Vendors, kind: str, folder: Path, authority: Authority) -> None:
        self.settings = vendor.settings(kind, folder, authority.ca_file)

    def open(self, **changed: Any) -> str:
        """Return its credential."""
        reference = KeyReference.model_validate({"workload": {**self.settings, **changed}})
        key = reference.open({}).current()
        assert key is not None
        return key.reveal()


def _problem(workload: Workload, **changed: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is asserted
        workload.open(**changed)
    assert JWT not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_the_documented_exchange(
    vendor: Vendors, kind: str, tmp_path: Path, authority: Authority
) -> None:
    """Each vendor gets exactly the fields that it documents, and gives its credential."""
    assert Workload(vendor, kind, tmp_path, authority).open() == CREDENTIALS[kind]
    assert vendor.calls == ([kind, "impersonation"] if kind == "google" else [kind])


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("anthropic", "workspace_id"),
        ("openai", "service_account_id"),
        ("entra", "client_id"),
        ("google", "audience"),
        ("google", "service_account"),
        ("azure-machine", "client_id"),
    ],
)
def test_a_refusal(
    vendor: Vendors, kind: str, field: str, tmp_path: Path, authority: Authority
) -> None:
    """Another value of a field is refused, and the error has the vendor's code, not the JWT."""
    problem = _problem(Workload(vendor, kind, tmp_path, authority), **{field: "other"})
    said = {"service_account": "NOT_FOUND"} if kind == "google" else {}
    said |= {"client_id": "answered 400"} if kind == "azure-machine" else {}
    assert said.get(field, "invalid_request") in problem


def test_without_impersonation(vendor: Vendors, tmp_path: Path, authority: Authority) -> None:
    """Google's federated token is the credential where there is no service account."""
    workload = Workload(vendor, "google", tmp_path, authority)
    assert workload.open(service_account=None).startswith("ya29.federated")
    assert vendor.calls == ["google"]


def test_the_file_is_read_for_each_exchange(
    vendor: Vendors, tmp_path: Path, authority: Authority
) -> None:
    """A rotated JWT is used, and a file without one is named in the error."""
    workload = Workload(vendor, "openai", tmp_path, authority)
    for content in ("", "not a jwt", "a.b", f"{JWT}\n{JWT}", "x" * 20_000):
        (tmp_path / "jwt").write_text(content)
        assert _problem(workload) == f"token_file: {tmp_path}/jwt: holds no JWT"
    (tmp_path / "jwt").unlink()
    assert _problem(workload) == f"token_file: {tmp_path}/jwt: No such file or directory"
    (tmp_path / "jwt").write_text(JWT)
    assert workload.open() == CREDENTIALS["openai"]


def test_a_short_life(vendor: Vendors, tmp_path: Path, authority: Authority) -> None:
    """A credential that ends before the next exchange is an error that names the setting."""
    vendor.lifetime = 60
    for kind in ("entra", "google"):
        problem = _problem(Workload(vendor, kind, tmp_path, authority))
        assert "shorter than refresh (240 s): set refresh" in problem


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({}, "it gives no reason"),
        ({"error": "\x1b[31mred\n"}, "refuses: "),
        ({"error": {"type": "authentication_error"}}, "authentication_error"),
        ({"access_token": 5, "expires_in": 1}, "no text"),
        ({"access_token": "a"}, "when the credential ends"),
        ({"access_token": "a", "expires_in": "soon"}, "when the credential ends"),
        ({"access_token": "a", "expires_in": 9999, "token_type": "mac"}, "no Bearer"),
        ({"access_token": "a b", "expires_in": 9999}, "white space"),
    ],
)
def test_answers_that_can_not_be_used(
    vendor: Vendors, answer: dict[str, Any], problem: str, tmp_path: Path, authority: Authority
) -> None:
    """An unusable answer is an error without control characters."""
    vendor.answer = answer
    said = _problem(Workload(vendor, "openai", tmp_path, authority))
    assert problem in said
    assert said.isprintable()


def test_another_ca(vendor: Vendors, tmp_path: Path, authority: Authority) -> None:
    """A token endpoint with a certificate of another CA gets no JWT."""
    assert "can't be read" in _problem(
        Workload(vendor, "openai", tmp_path, authority), ca_file=None
    )
    assert vendor.calls == []
