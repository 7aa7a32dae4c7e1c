"""Makes the files of base and cert-manager from the chart in deploy/helm: `make manifests`.

    python deploy/kubernetes/render.py HELM

They are the chart with values.yaml, without what only Helm sets. kustomize sets the namespace and
makes the ConfigMaps, whose names change with the content.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
CHART = FOLDER.parent / "helm"
FILES = {
    "authz.yaml": "base/authz.yaml",
    "envoy.yaml": "base/envoy.yaml",
    "network-policies.yaml": "base/network-policies.yaml",
    "certificates.yaml": "cert-manager/certificates.yaml",
}
KUBERNETES = "1.37.0"
HEAD = (
    "# Made from deploy/helm by `make manifests`: change the chart, or patch this in an overlay.\n"
)
_SOURCE = re.compile(r"^# Source: [^/]+/templates/(.+)\n", re.MULTILINE)
_OF_HELM = re.compile(
    r"^ +(app\.kubernetes\.io/(version|managed-by)|helm\.sh/chart|checksum/[a-z]+): .*\n",
    re.MULTILINE,
)


def render(helm: str) -> dict[str, str]:
    """Return the text of each file, by its path in this folder."""
    command = [helm, "template", "ai-gateway", str(CHART), "--namespace", "ai-gateway"]
    # A helm that `go install` built takes the cluster for 1.20 unless told.
    command += ["--values", str(FOLDER / "values.yaml"), "--kube-version", KUBERNETES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"render.py: helm can't render {CHART}:\n{done.stderr}")
    text = done.stdout
    documents: dict[str, list[str]] = {path: [] for path in FILES.values()}
    for document in re.split(r"^---\n", text, flags=re.MULTILINE):
        source = _SOURCE.search(document)
        if source is not None and source[1] in FILES:
            plain = _OF_HELM.sub("", _SOURCE.sub("", document)).strip("\n")
            documents[FILES[source[1]]].append(plain + "\n")
    return {path: HEAD + "---\n".join(parts) for path, parts in documents.items()}


def main() -> None:
    """Write the files."""
    if len(sys.argv) != 2:
        sys.exit("render.py: name the helm program, as `make manifests` does")
    for path, text in render(sys.argv[1]).items():
        (FOLDER / path).write_text(text)


if __name__ == "__main__":
    main()
