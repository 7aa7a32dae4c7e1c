"""The ``authz`` command."""
