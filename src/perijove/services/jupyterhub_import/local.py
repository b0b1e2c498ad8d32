"""Local processes of JupyterHub's: whether one is what its row says, and how to know it from later ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perijove.plugins import processes


def is_server(pid: int, mounted: str) -> bool:
    """Whether this process is the server that JupyterHub started, as far as we may look."""
    if processes.started(pid) is None:
        return False
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return True
    except OSError:
        return False
    return f"JUPYTERHUB_SERVICE_PREFIX={mounted}".encode() in environment.split(b"\0")


def with_start(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a local process, with what tells it from a later one of the same number."""
    pid = state.get("pid")
    since = processes.started(pid) if isinstance(pid, int) else None
    return {**state, "perijove_started": since} if since is not None else dict(state)
