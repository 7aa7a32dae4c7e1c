"""Run Envoy and authz together on one machine: ``authz up``."""
