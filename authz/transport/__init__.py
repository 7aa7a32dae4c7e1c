"""gRPC servers that carry bytes: methods are handed in, and no module knows what they mean."""
