"""authz.config.file."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz.config.file import Location, location_of, read_file, written
from authz.errors import ConfigError

A_KEY = "sk-ant-api03-0123456789abcdef"
TEXT = """\
# a comment
listen: 127.0.0.1:1
providers:
  - name: a
    key: {env: A}
  - {name: b,
     key: {env: B}}
base: &base
  http: 127.0.0.1:2
authz:
  <<: *base
  grpc: unix:a
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ((), 0),
        (("listen",), 2),
        (("providers",), 3),
        (("providers", 0), 4),
        (("providers", 0, "key", "env"), 5),
        (("providers", 1, "name"), 6),
        (("providers", 1, "key"), 7),
        (("providers", 0, "base_url"), 4),
        (("providers", 7, "name"), 3),
        (("authz", "http"), 9),
        (("authz", "grpc"), 12),
        (("envoy", "metrics"), 0),
        (("listen", "port"), 2),
    ],
)
def test_lines(location: Location, line: int) -> None:
    """A value has the line of its key, and a missing value that of its container."""
    Path("a.yaml").write_text(TEXT)
    file = read_file(Path("a.yaml"))
    assert file.line(location) == line
    assert file.place(location) == (f"a.yaml:{line}: " if line else "a.yaml: ")


def test_no_file() -> None:
    """Without a file, a message names no place."""
    assert read_file(None).place(("listen",)) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"key: *{A_KEY}", "a.yaml:1: found undefined alias 'sk-a...cdef'"),
        (
            f"key: !{A_KEY} x",
            "a.yaml:1: could not determine a constructor for the tag '!sk-...cdef'",
        ),
        (
            "authz:\n\thttp: x",
            "a.yaml:2: found character '\\t' that cannot start any token: indent",
        ),
        ("a: b: c", "a.yaml:1: mapping values are not allowed here; fix this"),
    ],
)
def test_syntax(text: str, said: str) -> None:
    """A mistake in the YAML has its line and says that nothing else was checked.

    A key that YAML takes for a name of its own is masked.
    """
    Path("a.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_file(Path("a.yaml"))
    assert str(caught.value).startswith(said)


_LOCATIONS = st.lists(
    st.from_regex(r"[a-z_]{1,9}", fullmatch=True) | st.integers(0, 99), max_size=5
).map(lambda steps: ("a", *steps))


@given(_LOCATIONS)
def test_written_and_read_again(location: Location) -> None:
    """The path in a message can be read back to its location."""
    assert location_of(f"{written(location)}: is wrong") == location


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), _VALUES))
def test_any_mapping(values: dict[str, object]) -> None:
    """The values are those of YAML's own loader, and each top-level key has a line of its own."""
    path = Path("any.yaml")
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    file = read_file(path)
    assert file.values == values
    assert file.twice == ()
    lines = [file.line((key,)) for key in values]
    assert len(set(lines)) == len(values)
    assert all(lines)
