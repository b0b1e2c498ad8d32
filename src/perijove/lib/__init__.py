"""Domain-free parts: time, logs, metrics, fault points. Nothing here knows what a user or a server is."""
