"""authz.transport.mutual_tls."""

from pathlib import Path

import pytest
import structlog.testing

from authz.config.service import MutualTls
from authz.errors import StartError
from authz.transport.mutual_tls import TlsFiles
from tests.support.certificates import Authority, Certificate


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA."""
    return Authority(tmp_path, "ca")


@pytest.fixture
def shown(authority: Authority, tmp_path: Path) -> Certificate:
    """Files that can be replaced."""
    return Certificate(authority, tmp_path / "shown")


@pytest.fixture
def files(shown: Certificate) -> TlsFiles:
    """The files, read."""
    return TlsFiles(MutualTls.model_validate(shown.mutual))


def test_nothing_new(files: TlsFiles) -> None:
    """Files that stay as they are are not taken again."""
    context = files.context
    assert [files.refresh() for _ in range(3)] == [False] * 3
    assert files.context is context


def test_new_files(files: TlsFiles, shown: Certificate, authority: Authority) -> None:
    """Files that were replaced are taken when they have stood still for a look."""
    context, chain = files.context, files.chain
    shown.renew(authority)
    assert [files.refresh() for _ in range(3)] == [False, True, False]
    assert files.context is not context
    assert files.chain == shown.cert_file.read_bytes() != chain


def test_a_half_replaced_pair(files: TlsFiles, shown: Certificate, authority: Authority) -> None:
    """A certificate that arrives before its key is not an error."""
    key = shown.key_file.read_bytes()
    shown.renew(authority)
    new_key = shown.key_file.read_bytes()
    shown.key_file.write_bytes(key)
    with structlog.testing.capture_logs() as logs:
        assert not files.refresh()
        shown.key_file.write_bytes(new_key)
        assert [files.refresh(), files.refresh()] == [False, True]
    assert [entry["log_level"] for entry in logs] == ["info"]


@pytest.mark.parametrize("broken", ["cert_file", "key_file", "ca_file"])
def test_a_bad_file(files: TlsFiles, shown: Certificate, authority: Authority, broken: str) -> None:
    """A file that can't be used is named once, the last good ones stay, the next good is taken."""
    context = files.context
    path = getattr(shown, broken)
    good = path.read_bytes()
    path.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    with structlog.testing.capture_logs() as logs:
        assert not any(files.refresh() for _ in range(4))
        (entry,) = logs
        assert entry["log_level"] == "error"
        assert str(path) in entry["why"]
        path.unlink()
        assert not any(files.refresh() for _ in range(4))
        assert len(logs) == 2
        assert str(path) in logs[1]["why"]
    assert files.context is context
    path.write_bytes(good)
    assert [files.refresh(), files.refresh()] == [False, True]


def test_no_secret_in_the_log(files: TlsFiles, shown: Certificate) -> None:
    """The content of a bad key file is not logged."""
    shown.key_file.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n")
    with structlog.testing.capture_logs() as logs:
        assert not any(files.refresh() for _ in range(2))
    assert "c2VjcmV0" not in str(logs)


def test_a_bad_start(shown: Certificate) -> None:
    """Files that went bad after the configuration was read end the start with one line."""
    tls = MutualTls.model_validate(shown.mutual)
    shown.ca_file.unlink()
    with pytest.raises(StartError, match=r"authz\.tls: .*ca\.crt: No such file"):
        TlsFiles(tls)
