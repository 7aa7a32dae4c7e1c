"""OAuth: issuers of JWTs, the token endpoint, and the identities of machines."""
