"""Server connections: dialling, sharing, cleaning, and choosing between servers."""
