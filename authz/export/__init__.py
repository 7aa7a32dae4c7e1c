"""Export of requests and of the audit log to an OpenTelemetry collector."""
