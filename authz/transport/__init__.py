"""gRPC servers that carry bytes: the caller passes the methods, and no module knows them."""
