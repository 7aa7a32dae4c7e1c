"""A small gRPC server for unary calls, bytes in and bytes out, over HTTP/2 on asyncio.

grpcio's asyncio server takes 400 µs for a call, of which the check itself is 40. This server has
only the parts that a check needs: RFC 9113 frames and flow control, HPACK from the ``hpack``
library, and gRPC's framing. Tests run it against grpcio's client and server, h2, Envoy, and random
bytes.
"""
