"""Perijove: a multi-user notebook hub that scales out.

`design` in one line: rows are truth, events are hints, memory is cache. Where each part
lives is drawn in `docs/explanation/architecture.md`.
"""

__version__ = "0.1.0"

# What `X-JupyterHub-Version` says. Stock single-user servers parse the value as PEP 440 at
# start-up and warn when the major number differs from theirs; the local part names us.
JUPYTERHUB_VERSION = "6.1.1"
WIRE_VERSION = f"{JUPYTERHUB_VERSION}+perijove"
