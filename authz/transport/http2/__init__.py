"""A small gRPC server for unary calls, bytes in and bytes out, over HTTP/2 on asyncio.

grpcio's asyncio server spends 400 µs on a call of which our work is 40. This one has only what a
check needs: RFC 9113 frames and flow control, HPACK by the ``hpack`` library, and gRPC's framing.
It is tested against grpcio's client and server, h2, Envoy, and random bytes.
"""
