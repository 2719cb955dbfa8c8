"""``pgcat-trio demo``: a throw-away cluster, the proxy and a small workload, and a live view of who answers what."""
