"""Who used what: from Envoy's access log to rows that ``authz usage`` adds up."""
