"""Hides the package ``rich``, which tools of the tests bring along and an installed gateway lacks.

structlog imports it where it is: five megabytes, which are not the gateway's. The folder comes
first in ``PYTHONPATH`` of every authz that is measured.
"""

raise ImportError("rich is hidden from the program that is measured")
