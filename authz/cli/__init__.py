"""The ``authz`` command (``interface.md`` section 2)."""
