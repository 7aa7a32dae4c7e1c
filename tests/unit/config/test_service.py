"""authz.config.service, and where Envoy finds the replicas."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from authz.config.service import Service
from authz.config.settings import Config
from authz.config.uses import Uses, broken_files
from tests.support.certificates import Authority

SERVER = "1.3.6.1.5.5.7.3.1"
CLIENT = "1.3.6.1.5.5.7.3.2"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA."""
    return Authority(tmp_path, "ca")


def _tls(authority: Authority, *uses: str) -> dict[str, str]:
    cert_file, key_file = authority.issue(uses=uses)
    return {
        "cert_file": str(cert_file),
        "key_file": str(key_file),
        "ca_file": str(authority.ca_file),
    }


def _problem(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(values)
    return str(caught.value)


def _broken(**values: Any) -> list[str]:
    return list(dict.fromkeys(broken_files(Config.model_validate(values), Uses.EVERYTHING)))


@pytest.mark.parametrize("address", ["0.0.0.0:9000", "10.0.0.1:9000", "authz:9000", "[::]:9000"])
def test_checks_don_t_leave_the_machine_in_clear(address: str) -> None:
    """The gRPC side carries credentials, so without TLS it needs loopback or ``insecure``."""
    assert "credentials would cross the network in clear" in _problem(authz={"grpc": address})
    allowed = Service.model_validate({"grpc": address, "insecure": True})
    assert str(allowed.grpc) == address


@pytest.mark.parametrize("address", ["127.0.0.1:9000", "[::1]:9000", "localhost:9000", "unix:a"])
def test_checks_on_this_machine(address: str) -> None:
    """Loopback and Unix sockets are accepted."""
    assert str(Service.model_validate({"grpc": address}).grpc) == address


def test_tls_lets_them_leave(authority: Authority) -> None:
    """Any address is accepted with mutual TLS, and Envoy shows the same certificate."""
    service = Service.model_validate({"grpc": "0.0.0.0:9001", "tls": _tls(authority)})
    assert service.envoy_tls == service.tls


@pytest.mark.parametrize("missing", ["cert_file", "key_file", "ca_file"])
def test_all_three_or_none(authority: Authority, missing: str) -> None:
    """Certificate, key and CA are required together, since TLS has to be mutual."""
    tls = _tls(authority)
    del tls[missing]
    assert f"authz.tls.{missing}" in _problem(authz={"grpc": "127.0.0.1:9001", "tls": tls})


def test_what_contradicts_itself(authority: Authority, tmp_path: Path) -> None:
    """TLS excludes a Unix socket and ``insecure``, and a client certificate needs TLS."""
    tls = _tls(authority)
    pair = {key: tls[key] for key in ("cert_file", "key_file")}
    assert "not a Unix socket" in _problem(authz={"tls": tls})
    both = {"grpc": "127.0.0.1:9001", "tls": tls, "insecure": True}
    assert "insecure: " in _problem(authz=both)
    assert "client_tls: needs tls" in _problem(authz={"client_tls": pair})
    (tmp_path / "no.pem").write_text("no PEM")
    tls["ca_file"] = str(tmp_path / "no.pem")
    (problem,) = _broken(authz={"grpc": "127.0.0.1:9001", "tls": tls})
    assert problem == f"authz.tls.ca_file: {tls['ca_file']} holds no PEM certificates"


def test_a_key_that_does_not_match(authority: Authority, tmp_path: Path) -> None:
    """A certificate with the key of another is refused at the start."""
    other = Authority(tmp_path, "other").issue()
    tls = _tls(authority) | {"key_file": str(other[1])}
    (problem,) = _broken(authz={"grpc": "127.0.0.1:9001", "tls": tls})
    assert problem == "authz.tls: cert_file and key_file are not a matching PEM pair"


def test_what_a_certificate_is_for(authority: Authority) -> None:
    """Envoy can't show a certificate for servers only, nor authz one for clients only."""
    server, client = _tls(authority, SERVER), None
    values: dict[str, Any] = {"grpc": "127.0.0.1:9001", "tls": server}
    (problem,) = _broken(authz=values)
    assert problem.startswith("authz.tls.cert_file: is not valid for clients")
    client = _tls(Authority(Path(server["ca_file"]).parent, "two"), CLIENT)
    pair = {key: client[key] for key in ("cert_file", "key_file")}
    assert Service.model_validate(values | {"client_tls": pair}).envoy_tls is not None
    assert _broken(authz=values | {"client_tls": pair}) == []
    (problem,) = _broken(authz=values | {"tls": client})
    assert problem == "authz.tls.cert_file: is not valid for servers (extended key usage)"
    wrong = {key: server[key] for key in ("cert_file", "key_file")}
    (problem,) = _broken(authz=values | {"client_tls": wrong})
    assert problem == "authz.client_tls.cert_file: is not valid for clients (extended key usage)"
    assert _broken(authz=values | {"tls": _tls(authority, SERVER, CLIENT)}) == []


@pytest.mark.parametrize(
    ("authz", "envoy", "problem"),
    [
        ({}, {"authz_grpc": ["127.0.0.1:9001"]}, "needs authz.grpc to be host:port"),
        (
            {"grpc": "127.0.0.1:9001"},
            {"authz_grpc": ["authz:9001"]},
            "envoy.authz_grpc: credentials would cross the network to authz:9001 in clear",
        ),
        ({"grpc": "127.0.0.1:9001"}, {"authz_grpc": ["0.0.0.0:9001"]}, "is a wildcard"),
        ({}, {"authz_http": ["a:1", "a:1"]}, "authz_http: addresses must be unique"),
        ({}, {"authz_http": ["unix:a"]}, "must be host:port"),
    ],
)
def test_where_the_replicas_are(authz: dict[str, Any], envoy: dict[str, Any], problem: str) -> None:
    """The replica addresses that Envoy asks have to make sense, and to be protected."""
    assert problem in _problem(authz=authz, envoy=envoy)


def test_insecure_counts_for_envoy_too() -> None:
    """``insecure`` also lets Envoy ask replicas on other machines in clear."""
    values = {
        "authz": {"grpc": "0.0.0.0:9001", "insecure": True},
        "envoy": {"authz_grpc": ["authz:9001"]},
    }
    assert len(Config.model_validate(values).envoy.authz_grpc) == 1
