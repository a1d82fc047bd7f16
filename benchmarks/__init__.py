"""Measures Restante beside other POP3 servers: `python -m benchmarks --help`."""
