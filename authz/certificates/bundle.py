"""The bundle of CAs, for clients that replace their own roots by a file."""

from pathlib import Path

from authz.files import write_whole


def write_bundle(path: Path, cert_file: Path, roots: Path) -> bool:
    """Write the system's roots and the proxy's CA to a file, unless it has them already.

    With only the proxy's CA, a client could not verify tunnelled hosts, which keep their own
    certificates.

    Args:
        path: the bundle.
        cert_file: the proxy's CA, PEM.
        roots: the trusted roots of this system, PEM.

    Returns:
        True if the system has roots. The bundle has the proxy's CA in any case.

    Raises:
        OSError: the CA can't be read, or the bundle can't be written.
    """
    own = cert_file.read_text()
    try:
        public = roots.read_text()
    except OSError:
        public = ""
    text = f"{public.rstrip()}\n{own}" if public else own
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, text)
    return bool(public)
