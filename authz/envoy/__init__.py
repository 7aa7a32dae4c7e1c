"""Envoy's configuration as typed objects, in the order a request meets its parts.

Importing the typed objects takes half a second, so nothing that serves requests imports from here.
"""

from authz.envoy import import_hook

import_hook.install()
