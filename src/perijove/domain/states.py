"""A server's two words, `desired` and `observed`, and what JupyterHub's clients call the pair.

A request writes `desired` and returns; the reconciler moves `observed` towards it. `pending`,
`ready` and `stopped` of the REST API are never stored: they are computed here, so that no
replica can remember a state that the row does not have.
"""

from enum import StrEnum


class Desired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    # Stop, run the spawner's delete_forever, then remove the row.
    DELETED = "deleted"


class Observed(StrEnum):
    STOPPED = "stopped"
    # A spawner may have been called: whatever it started is findable by server id and generation.
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Phase(StrEnum):
    """How far a start got; decides what the next holder of the lease does."""

    NONE = ""
    # Written before the spawner is called. A new holder looks for a half-started thing first.
    SPAWNING = "spawning"
    # `start()` returned; state and URL are in the row. A new holder goes on with the readiness wait.
    SPAWNED = "spawned"


def pending(desired: Desired, observed: Observed) -> str | None:
    """JupyterHub's `pending` of a server: "spawn", "stop" or None."""
    if observed is Observed.STOPPING:
        return "stop"
    if observed is Observed.STOPPED:
        return "spawn" if desired is Desired.RUNNING else ("stop" if desired is Desired.DELETED else None)
    if desired is not Desired.RUNNING:
        return "stop"
    return "spawn" if observed is Observed.STARTING else None


def ready(desired: Desired, observed: Observed) -> bool:
    """Running, and nobody asked for anything else."""
    return desired is Desired.RUNNING and observed is Observed.RUNNING


def active(desired: Desired, observed: Observed) -> bool:
    """Running or on the way up or down: what the REST API lists in `servers`."""
    return observed is not Observed.STOPPED or desired is Desired.RUNNING
