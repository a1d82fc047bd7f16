"""Mail in one SQLite file: messages, their bodies, leases."""
