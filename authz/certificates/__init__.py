"""The CA of the AI Gateway Proxy, its leaf certificates, and bundles for clients."""
