"""Where message bodies lie when their facts lie in a database: one contract, several places."""
