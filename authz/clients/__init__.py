"""The clients: shell lines that point each one at the gateway, and test results, as data."""
