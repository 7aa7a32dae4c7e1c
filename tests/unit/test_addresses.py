"""authz.addresses."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.addresses import (
    BaseUrl,
    TcpAddress,
    UnixAddress,
    parse_address,
    parse_base_url,
    parse_tcp,
)

_pieces = st.lists(
    st.sampled_from(
        [
            "http",
            "https",
            "://",
            ":",
            "/",
            "//",
            "[",
            "]",
            "::1",
            "127.0.0.1",
            "localhost",
            "a.b",
            "@",
            "?",
            "#",
            "8080",
            "0",
            "99999",
            "..",
            ".",
            "%2f",
            "-",
            "%",
            "unix:",
            "ä",
            "٣",
        ]
    )
    | st.sampled_from([" ", "\n", "\0", "x" * 64]),
    max_size=8,
).map("".join)
_texts = st.text(max_size=40) | _pieces


@given(_texts)
def test_any_text_is_a_tcp_address_or_refused(text: str) -> None:
    """An accepted text has a host and a port, and reads back as the same address."""
    try:
        address = parse_tcp(text)
    except ValueError:
        return
    assert 1 <= address.port <= 65535
    assert address.host.isascii()
    assert not set(address.host) & set("[]/@ \n\0")
    assert parse_tcp(str(address)) == address


@given(_texts)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """The text of any address, of a socket or a port, reads back as the same address."""
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
    assert isinstance(address, UnixAddress) == text.startswith("unix:")


@given(_texts | _texts.map("https://{}".format) | _texts.map("https://a.b/{}".format))
@example("https://[::1")
@example("https://a:99999999999999")
@example("http://[fe80::1%eth0]/")
def test_any_text_is_a_base_url_or_refused(text: str) -> None:
    """A base URL has a host, a port and a normal path, and reads back from its own text."""
    try:
        url = parse_base_url(text)
    except ValueError:
        return
    assert url.host
    assert url.host.isascii()
    assert url.host == url.host.lower()
    assert 1 <= url.port <= 65535
    assert url.path.startswith("/")
    assert url.path == "/" or not url.path.endswith("/")
    assert not {"", ".", ".."} & set(url.path.split("/")[1:-1])
    assert parse_base_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("[::1]:65535", "::1", 65535),
        ("localhost:80", "localhost", 80),
        ("my-host.example.com:443", "my-host.example.com", 443),
    ],
)
def test_tcp_addresses(text: str, host: str, port: int) -> None:
    """Names, IPv4, and IPv6 in brackets are taken."""
    assert parse_tcp(text) == TcpAddress(host, port)
    assert str(TcpAddress(host, port)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        ":8080",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:80x",
        "::1:80",
        "[::1]",
        "[127.0.0.1]:80",
        "http://host:80",
        "a b:80",
        "host:٣",
        "-a:80",
        "[fe80::1%eth0]:80",
    ],
)
def test_no_tcp_addresses(text: str) -> None:
    """An incomplete address is refused, and the error has the expected form."""
    with pytest.raises(ValueError, match=r"must be host:port|from 1 to 65535"):
        parse_tcp(text)


def test_unix_addresses() -> None:
    """A path of a socket fits into the kernel's structure and holds no NUL."""
    assert parse_address("unix:./a.sock") == UnixAddress("./a.sock")
    assert parse_address(f"unix:{'a' * 107}") == UnixAddress("a" * 107)
    for text in (f"unix:{'a' * 108}", f"unix:{'ä' * 54}", "unix:", "unix:a\0b"):
        with pytest.raises(ValueError, match=r"unix:path|Unix socket"):
            parse_address(text)
    with pytest.raises(ValueError, match="or unix:path"):
        parse_address("./a.sock")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("::", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Only addresses that no other machine can reach are loopback."""
    assert TcpAddress(host, 1).is_loopback is loopback


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.anthropic.com/", BaseUrl(True, "api.anthropic.com", 443, "/")),
        ("https://API.openai.com/v1/", BaseUrl(True, "api.openai.com", 443, "/v1")),
        ("http://localhost:11434", BaseUrl(False, "localhost", 11434, "/")),
        ("http://[::1]:80/a/b", BaseUrl(False, "::1", 80, "/a/b")),
        (
            "https://chatgpt.com/backend-api/codex",
            BaseUrl(True, "chatgpt.com", 443, "/backend-api/codex"),
        ),
    ],
)
def test_base_urls(text: str, url: BaseUrl) -> None:
    """A base URL is read into scheme, host, port and path, in one normal form."""
    assert parse_base_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.openai.com",
        "ftp://a.b",
        "//a.b",
        "https://",
        "https:///v1",
        "https://a.b?x=1",
        "https://a.b?",
        "https://a.b#",
        "https://a.b/%2e%2e",
        "https://a.b/../c",
        "https://a.b/c//d",
        "https://a.b:0",
        "https://a.b:",
        "https://a.b:x",
        "https://a.b:99999",
        "https://a b/",
        "https://[a.b]/",
        "https://[::1",
        "https://a.b/ü",
        "https://ä.b/",
        "https://a..b/",
    ],
)
def test_no_base_urls(text: str) -> None:
    """A URL that Envoy would read differently, or not at all, is refused."""
    with pytest.raises(ValueError, match=r"^(is|must|has|the) "):
        parse_base_url(text)


def test_a_password_in_a_base_url_is_not_repeated() -> None:
    """The message says where a key belongs, and does not repeat the password."""
    with pytest.raises(ValueError, match="with `key`") as caught:
        parse_base_url("https://user:hunter2@api.openai.com/v1")
    assert "hunter2" not in str(caught.value)


def test_what_the_host_header_says() -> None:
    """The port is named only where it is not the scheme's own."""
    assert parse_base_url("https://a.b:443/").authority == "a.b"
    assert parse_base_url("http://a.b:443/").authority == "a.b:443"
    assert parse_base_url("http://[::1]:80/").authority == "[::1]"
    assert parse_base_url("http://[::1]:81/").authority == "[::1]:81"
    assert [parse_base_url(f"http://{h}/").is_ip for h in ("[::1]", "1.2.3.4", "a.b")] == [
        True,
        True,
        False,
    ]
