"""Hosting of JupyterHub's plug-ins: spawners, authenticators, their hooks and their Tornado handlers.

A plug-in sees façades built from snapshots of rows and never a database session of ours; what it
returns goes back through the ports in `domain/ports.py`. Nothing here imports the store or services.
"""
