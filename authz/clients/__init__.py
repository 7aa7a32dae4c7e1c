"""How to point each client at the gateway: the lines to paste, as data, and what was run of it."""
