"""authz.files."""

import os
from pathlib import Path

import pytest

from authz.files import write_whole


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """Content and mode are as asked for, whatever the umask, and no draft is left."""
    path = tmp_path / "file"
    before = os.umask(0o077)
    try:
        write_whole(path, "é\n")
        write_whole(tmp_path / "secret", "x", mode=0o600)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "secret"]


def test_what_was_there_is_replaced_by_another_file(tmp_path: Path) -> None:
    """A reader that has the old file open keeps reading the old content."""
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        write_whole(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    """If the text can't be written, the old content stays and no draft is left."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A missing folder is not created; the error names the file, not its draft."""
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(path, "x")
    assert caught.value.filename == str(path)


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    """A named pipe, as a device such as /dev/null, gets the text and stays what it is."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(path, "text")
        assert os.read(reader, 10) == b"text"
    finally:
        os.close(reader)
    assert path.is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
