"""Every variant, in the order of the report."""

from bench.sources import coder, postgresql
from bench.variants import CORE, Variant, product

VARIANTS = (
    *CORE,
    Variant("grpcio", "the same, served by grpcio", product(transport="grpcio")),
    Variant("postgresql", "Envoy and authz, PostgreSQL", postgresql),
    Variant("coder", "Envoy and authz, Coder's API", coder),
)
