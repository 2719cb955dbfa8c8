"""What the proxy costs, beside no proxy and beside PgBouncer: ``python -m tests.bench``."""
