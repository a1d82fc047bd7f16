"""Mail in PostgreSQL: messages, leases, quotas; bodies there too, or elsewhere."""
