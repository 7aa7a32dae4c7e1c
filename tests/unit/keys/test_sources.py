"""authz.keys.sources."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from authz.files import write_whole
from authz.keys.sources import EnvKey, FileKey
from authz.secret import Secret

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
BAD = ["sk with space", "sk\nsk", "sk-ä", "sk\x7f", TOKEN]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a key and the line end that editors add."""
    path = tmp_path / "provider.key"
    path.write_text("sk-first\n")
    return path


def test_an_environment_variable() -> None:
    """A variable that is set is the key; an unset or blank one gives no key."""
    assert EnvKey("A", {"A": " sk-1\n"}).current() == Secret("sk-1")
    assert EnvKey("A", {"A": "  "}).current() is None
    assert EnvKey("A", {"B": "sk-1"}).current() is None


@pytest.mark.parametrize("text", BAD)
def test_what_can_be_no_key_is_refused(text: str, tmp_path: Path) -> None:
    """A key that no header can carry, or a Coder token, is an error that does not show it."""
    (tmp_path / "key").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"^holds a") as of_variable:
        EnvKey("A", {"A": text})
    with pytest.raises(ValueError, match=r"^holds a") as of_file:
        FileKey(tmp_path / "key")
    assert text not in str(of_variable.value) + str(of_file.value)


def test_a_file_without_a_usable_key_is_refused(tmp_path: Path) -> None:
    """Missing, empty or binary files are errors at the start."""
    with pytest.raises(FileNotFoundError):
        FileKey(tmp_path / "missing")
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(ValueError, match="holds no key"):
        FileKey(tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"\xff\xfesecret")
    with pytest.raises(ValueError, match="UTF-8") as caught:
        FileKey(tmp_path / "binary")
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)


def test_a_replaced_file_counts_at_once(path: Path) -> None:
    """A replaced file counts at once, after a rename or a write in place."""
    key = FileKey(path)
    assert key.current() == Secret("sk-first")
    write_whole(path, "sk-second\n")
    assert key.current() == Secret("sk-second")
    path.write_text("sk-third-longer")
    assert key.current() == Secret("sk-third-longer")


def test_a_replaced_symbolic_link_counts_at_once(tmp_path: Path) -> None:
    """Kubernetes swaps a link to the folder of a secret."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"sk-{name}")
    link = tmp_path / "link"
    link.symlink_to("one")
    key = FileKey(link)
    assert key.current() == Secret("sk-one")
    (tmp_path / "draft").symlink_to("two")
    (tmp_path / "draft").replace(link)
    assert key.current() == Secret("sk-two")


@pytest.mark.parametrize("content", ["", "  \n", "two words", TOKEN])
def test_a_bad_rewrite_keeps_the_last_good_key(path: Path, content: str) -> None:
    """An emptied or mangled file does not stop the traffic; it is logged once, without the text."""
    key = FileKey(path)
    path.write_text(content)
    with capture_logs() as logs:
        assert [key.current() for _ in range(3)] == [Secret("sk-first")] * 3
    (line,) = logs
    assert line["log_level"] == "error"
    assert line["file"] == str(path)
    if content.strip():
        assert content not in str(logs)
    write_whole(path, "sk-second")
    assert key.current() == Secret("sk-second")


def test_a_deleted_file_keeps_the_last_good_key(path: Path) -> None:
    """After a deletion the key stays in use, and a new file counts at once."""
    key = FileKey(path)
    path.unlink()
    with capture_logs() as logs:
        assert [key.current() for _ in range(3)] == [Secret("sk-first")] * 3
    assert [line["log_level"] for line in logs] == ["error"]
    path.write_text("sk-second")
    assert key.current() == Secret("sk-second")


def test_an_unreadable_file_keeps_the_last_good_key(path: Path) -> None:
    """A folder in the file's place, as from a wrong mount, leaves the last key in use."""
    key = FileKey(path)
    path.unlink()
    path.mkdir()
    assert key.current() == Secret("sk-first")


def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    """The file's stamp is looked at, not its content."""
    key = FileKey(path)
    before = path.stat()
    path.write_text("sk-other\n"[: before.st_size].ljust(before.st_size, "x"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino
    assert key.current() == Secret("sk-first")


@given(st.text(max_size=60))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    """Any text is a key of visible ASCII without white space, no key, or a ValueError."""
    try:
        key = EnvKey("A", {"A": text}).current()
    except ValueError:
        assert text.strip()
        return
    assert (key is None) == (not text.strip())
    if key is not None:
        assert all("!" <= character <= "~" for character in key.reveal())
