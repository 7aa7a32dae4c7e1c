"""Kubernetes manifests for gateways that authz does not configure: printed, and checked."""
