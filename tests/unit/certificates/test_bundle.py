"""The bundle of trusted roots for clients."""

from pathlib import Path

from authz.certificates.bundle import write_bundle


def test_bundle(tmp_path: Path) -> None:
    """The bundle holds the system's roots and the proxy's CA, each on lines of its own."""
    roots, own, bundle = tmp_path / "roots", tmp_path / "own", tmp_path / "new" / "bundle"
    roots.write_text("root 1\nroot 2")
    own.write_text("own\n")
    assert write_bundle(bundle, own, roots)
    assert bundle.read_text() == "root 1\nroot 2\nown\n"


def test_changed_roots(tmp_path: Path) -> None:
    """New roots of the system are taken over, and an unchanged bundle is left alone."""
    roots, own, bundle = tmp_path / "roots", tmp_path / "own", tmp_path / "bundle"
    roots.write_text("old\n")
    own.write_text("own\n")
    write_bundle(bundle, own, roots)
    before = bundle.stat().st_ino
    write_bundle(bundle, own, roots)
    assert bundle.stat().st_ino == before
    roots.write_text("new\n")
    write_bundle(bundle, own, roots)
    assert bundle.read_text() == "new\nown\n"


def test_no_roots(tmp_path: Path) -> None:
    """Without roots on the system the bundle is the proxy's CA, and the caller is told."""
    own, bundle = tmp_path / "own", tmp_path / "bundle"
    own.write_text("own\n")
    assert not write_bundle(bundle, own, tmp_path / "nowhere")
    assert bundle.read_text() == "own\n"
