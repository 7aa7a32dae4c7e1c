"""Recorded usage: from Envoy's access log to the rows that ``authz usage`` sums up."""
