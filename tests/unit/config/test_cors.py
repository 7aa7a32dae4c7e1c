"""The setting ``cors``."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authz.config.cors import Cors, parse_origin
from authz.config.settings import Config
from tests.unit.envoy.rendered import rendered


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "http://localhost:5173",
        "http://127.0.0.1:8000",
        "http://[::1]:3000",
        "https://app.example.com:8443",
        "http://app.example.com:443",
        "app://obsidian.md",
        "chrome-extension://abcdefghijklmnop",
    ],
)
def test_origins(origin: str) -> None:
    """An origin as browsers write it is taken as it is."""
    assert Cors.model_validate({"origins": [origin]}).origins == (origin,)


@pytest.mark.parametrize(
    ("origins", "text"),
    [
        ([], "at least 1"),
        (["app.example.com"], "scheme://host"),
        (["https://app.example.com/"], "without a path"),
        (["https://APP.example.com"], "lower case"),
        (["https://user@app.example.com"], "scheme://host"),
        (["https://*.example.com"], "scheme://host"),
        (["null"], "scheme://host"),
        (["https://app.example.com:443"], "remove :443"),
        (["http://app.example.com:80"], "remove :80"),
        (["https://app.example.com:99999"], "65535"),
        (["https://app.example.com", "*"], "must be the only entry"),
        (["https://a.test", "https://a.test"], "twice"),
    ],
)
def test_bad_origins(origins: list[str], text: str) -> None:
    """Any other origin is an error that says what to write."""
    with pytest.raises(ValidationError, match="cors") as caught:
        Config.model_validate({"cors": {"origins": origins}})
    assert text in str(caught.value)


def test_every_origin() -> None:
    """A star alone means every origin."""
    assert Cors.model_validate({"origins": ["*"]}).origins == ("*",)


@given(st.text(max_size=40) | st.from_regex(r"[a-z]+://[a-z0-9.:/\[\]-]*", fullmatch=True))
def test_parsing(text: str) -> None:
    """An origin is an error or kept unchanged, and has nothing after the port."""
    try:
        assert parse_origin(text) == text
    except ValueError:
        return
    rest = text.partition("://")[2]
    assert rest
    assert not set(rest) & set("/?#@, \r\n*\\")


def _mentions(value: Any) -> bool:
    return "cors" in str(value)


def test_nothing_is_rendered_by_default() -> None:
    """Envoy's configuration has the filter only if ``cors`` is set."""
    assert not _mentions(rendered())
    assert _mentions(rendered(cors={"origins": ["*"]}))
