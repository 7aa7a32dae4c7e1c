"""The manifests and the chart against a real kube-apiserver: `make test-kubernetes`."""
