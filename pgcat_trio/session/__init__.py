"""One client each: its login, its nursery, and the backend that it leases."""
