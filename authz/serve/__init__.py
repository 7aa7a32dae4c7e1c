"""The authz service as a process: start, reload, workers, graceful stop."""
