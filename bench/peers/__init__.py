"""What a user would take instead of Envoy and authz, doing the same job in the same run."""
