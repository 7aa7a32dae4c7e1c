"""Alternatives to Envoy and authz, which do the same job in the same run."""
