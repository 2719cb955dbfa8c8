"""The process: supervisor, listeners, signals, the sweep, and the admin console."""
