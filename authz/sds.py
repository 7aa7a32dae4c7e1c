"""Files from which Envoy reads its listeners' certificates, and reads them again (file SDS)."""

from pathlib import Path

import yaml

from authz.fields import Tls
from authz.files import write_whole
from authz.settings import Config

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105


def listener_secret_file(config: Config, listener: str) -> Path:
    """Return the file that describes the certificate of a listener."""
    return config.state_folder / "sds" / f"{listener}-{config.listen.port}.yaml"


def write_listener_secrets(config: Config) -> None:
    """Describe the certificates of the listeners that terminate TLS with files of the operator.

    The description names the files and what to watch: Envoy reads them again when one of them is
    replaced by a rename, as cert-manager, Kubernetes and certbot do.

    Raises:
        OSError: the state folder can't be written to.
    """
    listeners = {"gateway": config.tls, "proxy": config.proxy.tls if config.proxy else None}
    for listener, tls in listeners.items():
        if tls is not None:
            path = listener_secret_file(config, listener)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, yaml.safe_dump({"resources": [_secret(listener, tls)]}))


def _secret(name: str, tls: Tls) -> dict[str, object]:
    cert_file, key_file = Path(tls.cert_file).absolute(), Path(tls.key_file).absolute()
    certificate: dict[str, object] = {
        "certificate_chain": {"filename": str(cert_file)},
        "private_key": {"filename": str(key_file)},
    }
    # A folder to watch takes the place of watching the files, and there can be but one. It is what
    # sees Kubernetes swap the link of a mounted secret.
    if cert_file.parent == key_file.parent:
        certificate["watched_directory"] = {"path": str(cert_file.parent)}
    return {"@type": SECRET_TYPE, "name": name, "tls_certificate": certificate}
