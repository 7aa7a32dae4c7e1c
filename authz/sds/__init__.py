"""Secret files that Envoy reads and watches: listener, client and leaf certificates."""
