"""Provider credentials that authz gets for its own identity, so that no key is stored."""
