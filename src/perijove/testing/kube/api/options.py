"""How a write is asked for."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from perijove.testing.kube.api.identity import ADMIN, User
from perijove.testing.kube.objects.resources import Object


@dataclass
class WriteOptions:
    user: User = ADMIN
    manager: str = "kube-controller-manager"
    subresource: str = ""
    dry_run: bool = False
    # What to do with fields that no schema knows: Ignore, Warn, Strict.
    field_validation: str = "Warn"
    force: bool = False
    # Filled on the way, for the response's headers.
    warnings: list[str] = field(default_factory=list)


@dataclass
class DeleteOptions:
    grace_seconds: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def delete_options(body: Object, query_grace: str, query_propagation: str, *, dry_run: bool) -> DeleteOptions:
    """The body wins over the query."""
    preconditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds")
    if grace is None and query_grace:
        grace = int(query_grace)
    return DeleteOptions(
        grace_seconds=grace,
        propagation=body.get("propagationPolicy") or query_propagation,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=dry_run or bool(body.get("dryRun")),
    )


def now() -> str:
    """As objects carry times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_precisely() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
