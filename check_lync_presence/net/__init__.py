"""The network: one Deadline, waits side by side on one thread, names, and connections over TLS or TCP."""
