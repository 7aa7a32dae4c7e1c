"""Reading and writing manifests."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz.manifests.check import check
from authz.manifests.documents import ManifestError, parse, read_manifests, write
from authz.manifests.durations import is_short, seconds_of
from tests.unit.manifests.conftest import external_config

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_KEYS = st.sampled_from(
    [
        "spec",
        "kind",
        "metadata",
        "name",
        "namespace",
        "extAuth",
        "rules",
        "filters",
        "http",
        "tls",
        "items",
        "hosts",
        "servers",
        "targetRefs",
        "data",
        "mesh",
        "meshConfig",
        "timeouts",
    ]
)
_VALUES = st.recursive(
    _SCALARS | st.sampled_from(["HTTPRoute", "SecurityPolicy", "ai", "anthropic", "List"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=25,
)
_KINDS = ["SecurityPolicy", "HTTPRoute", "Backend", "BackendTLSPolicy", "EnvoyProxy", "List"]
_KINDS += ["AuthorizationPolicy", "VirtualService", "Gateway", "DestinationRule", "Telemetry"]
_KINDS += ["ConfigMap", "IstioOperator", "ServiceEntry"]
_CONFIG = external_config()


@given(kind=st.sampled_from(_KINDS), spec=_VALUES, rest=st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_any_shape_is_checked(kind: str, spec: Any, rest: dict[str, Any]) -> None:
    """A manifest of any shape gives findings, and no error."""
    names = {"metadata": {"namespace": "ai", "name": "anthropic"}}
    text = yaml.safe_dump({**rest, **names, "kind": kind, "spec": spec})
    for one in check(parse(text, "x.yaml"), _CONFIG):
        assert "\n" not in str(one)


@given(st.text(max_size=200) | st.text(alphabet="{}[]:-&*!|>%'\"\n #a0=.<?,", max_size=60))
def test_any_text(text: str) -> None:
    """Any text is parsed, or gives an error of one printable line."""
    problem = ""
    try:
        check(parse(text, "x.yaml"), _CONFIG)
    except ManifestError as error:
        problem = str(error)
    assert problem == "" or (problem.startswith("x.yaml: is not YAML") and problem.isprintable())


@given(_VALUES.filter(lambda value: value == value))
def test_written_is_read(value: Any) -> None:
    """Written manifests are the same when they are read."""
    fields = {"kind": "X", "spec": {"value": value}}
    first, second = parse(write([("a\nb", fields), ("", fields)]), "x.yaml")
    assert repr(first.fields) == repr(second.fields) == repr(fields)


def test_lists_and_documents() -> None:
    """Each document is a manifest, lists are split, and values that are not mappings skipped."""
    text = "kind: A\n---\n- 1\n---\n---\nkind: List\nitems: [{kind: B, metadata: {name: b}}, 3]\n"
    found = [(one.kind, one.namespace, one.name) for one in parse(text, "x.yaml")]
    assert found == [("A", "default", ""), ("B", "default", "b")]


def test_texts_stay_texts() -> None:
    """Dates and an equals sign are texts, as for Kubernetes."""
    (found,) = parse("kind: X\nspec: {a: 2026-01-01, b: =}\n", "x.yaml")
    assert found.spec == {"a": "2026-01-01", "b": "="}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "is not YAML in line 1"),
        ("kind: X\nspec: *x\n", "aliases are not supported"),
        ("a: &a [1]\nb: [*a, *a]\n", "aliases are not supported"),
        ("spec: !!python/object/apply:os.system [ls]\n", "is not YAML in line 1"),
        ("[" * 3000, "is not YAML"),
    ],
)
def test_bad_texts(text: str, problem: str) -> None:
    """Invalid YAML, and YAML that could grow without bound, is an error with the line."""
    with pytest.raises(ManifestError, match=problem):
        parse(text, "x.yaml")


def test_files(tmp_path: Path) -> None:
    """A file that is too large, or not UTF-8, is an error that names it."""
    file = tmp_path / "x.yaml"
    for data, problem in ((b"#" * (5 << 20), "larger than 4 MiB"), (b"\xff", "not UTF-8")):
        file.write_bytes(data)
        with pytest.raises(ManifestError, match=f"x.yaml: is {problem}"):
            read_manifests([file])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2s", 2), ("0s", 0), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("", None), ("2", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    """Durations are those of Go, with a unit for each number."""
    assert seconds_of(text) == seconds
    assert is_short(text) == (seconds in (2, 0.5))
