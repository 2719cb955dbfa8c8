"""The admin console: the databases ``pgcat`` and ``pgbouncer``. One file a family of commands."""
