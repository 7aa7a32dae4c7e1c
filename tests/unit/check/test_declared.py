"""authz.check.declared: what Envoy's filters have read, and everything that is unclear."""

import re
from collections.abc import Sequence

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.check.declared import declared
from authz.check.ext_authz import Check, read
from authz.core.declared import NO_MODEL, DeclaredRequest
from authz.core.providers import ModelPlace
from authz.pb import ext_authz_pb2
from authz.pb import request_metadata_pb2 as pb
from tests.support.checks import ANTHROPIC, question

JSON = ("content-type", "application/json")
TYPE = "type.googleapis.com/envoy.data.ai.v3.RequestInfo"


def _check(
    place: str | None, metadata: bytes = b"", headers: Sequence[tuple[str, str | bytes]] = (JSON,)
) -> Check:
    context = ANTHROPIC if place is None else {**ANTHROPIC, "model": place}
    message = ext_authz_pb2.CheckRequest.FromString(question(headers, context))
    message.attributes.metadata_context = metadata
    return read(message.SerializeToString())


def _body(model: str = "", type_url: str = TYPE, times: int = 1) -> bytes:
    info = pb.RequestInfo(model=model)
    info.max_output_tokens.value = 8
    info.estimated_input_tokens.value = 0
    found = pb.Metadata()
    for _ in range(times):
        entry = found.typed_filter_metadata.add(key="envoy.ai.request_info")
        entry.value.type_url = type_url
        entry.value.value = info.SerializeToString()
    return found.SerializeToString()


def _path(*models: str, key: str = "authz.path_model") -> bytes:
    found = pb.Metadata()
    for model in models:
        found.filter_metadata.add(key=key).value.fields["model"].string_value = model
    return found.SerializeToString()


@pytest.mark.parametrize(
    ("headers", "is_read"),
    [
        ([JSON], True),
        ([("content-type", "application/vnd.x+json; charset=UTF-8")], True),
        ([("content-type", 'Application/JSON;charset="utf-8"')], True),
        ([JSON, ("content-length", "5")], True),
        ([], False),
        ([JSON, JSON], False),
        ([JSON, ("content-encoding", "identity")], False),
        ([("content-type", "application/json; charset=utf-16")], False),
        ([("content-type", "application/jsonl")], False),
        ([("content-type", b"application/json\xff")], False),
    ],
)
def test_the_body_is_json_for_everyone(
    headers: list[tuple[str, str | bytes]], is_read: bool
) -> None:
    """One content type that says JSON in UTF-8, and no content coding, make the model known."""
    found = declared(_check("body", _body("m"), headers))
    assert found == (DeclaredRequest("m", "", 8, 0) if is_read else found)
    assert bool(found.problem) is not is_read


@pytest.mark.parametrize(
    ("place", "metadata", "model"),
    [
        ("body", _body("models/gemini-x"), "gemini-x"),
        ("optional", _body("m"), "m"),
        ("optional", _body(), ""),
        ("optional", b"", ""),
        ("none", _body("m"), ""),
        ("path", _path("gpt-5"), "gpt-5"),
        ("path", _path("claude%3A0"), "claude:0"),
    ],
)
def test_the_place_of_the_model(place: str, metadata: bytes, model: str) -> None:
    """The route says where the model is; a missing optional model is not a problem."""
    assert (declared(_check(place, metadata)).model, declared(_check(place)).model != "") == (
        model,
        False,
    )
    assert not declared(_check(place, metadata)).problem


@pytest.mark.parametrize(
    ("place", "metadata"),
    [
        ("body", b""),
        ("body", _body()),
        ("body", _body("a b")),
        ("body", _body("a\n")),
        ("body", _body("ä")),
        ("body", _body("m" * 257)),
        ("body", _body("models/")),
        ("body", _body("m", times=2)),
        ("body", _body("m", "type.googleapis.com/other")),
        ("body", b"\xff"),
        ("optional", b"\xff"),
        ("optional", _body("m", times=2)),
        ("path", b""),
        ("path", _body("m")),
        ("path", _path("/v1/models")),
        ("path", _path("a%2Fb")),
        ("path", _path("a%252Fb")),
        ("path", _path("a%FF")),
        ("path", _path("a", "b")),
        ("path", _path("m", key="other")),
        ("unknown", _body("m")),
        ("Body", _body("m")),
        ("", _body("m")),
        (None, _body("m")),
    ],
)
def test_what_is_unclear_is_a_problem(place: str | None, metadata: bytes) -> None:
    """Metadata without exactly one readable model in its place give a problem and no model."""
    found = declared(_check(place, metadata))
    assert found.problem.startswith("This gateway has to know the model")
    assert found.model == ""


@settings(max_examples=100)
@given(
    st.sampled_from([*ModelPlace, "x"]),
    st.binary(max_size=80)
    | st.builds(lambda model, end: _body(model)[: -end or None], st.text(), st.integers(0, 9)),
)
def test_any_bytes(place: str, metadata: bytes) -> None:
    """Any metadata give a plain model, a problem or neither, and never an exception."""
    found = declared(_check(place, metadata))
    assert not (found.model and found.problem)
    assert re.fullmatch(r"[\x21-\x7e]{0,256}", found.model)
    if place in ("body", "path", "unknown", "x"):
        assert found.model or found.problem
    if found == NO_MODEL and place == "optional":
        try:
            entries = pb.Metadata.FromString(metadata).typed_filter_metadata
        except DecodeError:
            pytest.fail("metadata that can't be read passes")
        assert all(
            entry.key != "envoy.ai.request_info"
            or not pb.RequestInfo.FromString(entry.value.value).model
            for entry in entries
        )
