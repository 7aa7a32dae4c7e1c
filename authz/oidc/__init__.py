"""Sign-in with OpenID providers: the protocol, the users that it makes, and its pages."""
