"""Live Envoy Gateway and Istio in front of authz; run by ``make test-gateways``."""
