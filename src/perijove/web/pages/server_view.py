"""A server as pages show it: one word for its state, and the addresses of what can be done with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from perijove.domain import names
from perijove.domain.states import Desired, Observed, active, ready
from perijove.services.context import HubContext
from perijove.services.server_rows import ServerRow

Status = Literal["stopped", "starting", "running", "stopping", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    name: str
    title: str
    status: Status
    url: str
    spawn_url: str
    pending_url: str
    stop_url: str
    delete_url: str
    started: datetime | None = None
    last_activity: datetime | None = None
    # Why it failed, for its owner.
    message: str = ""

    @property
    def pending(self) -> bool:
        return self.status in {"starting", "stopping"}

    # What custom templates ask of JupyterHub's spawner objects.
    @property
    def active(self) -> bool:
        return self.status in {"starting", "running", "stopping"}

    @property
    def ready(self) -> bool:
        return self.status == "running"


def status_of(desired: str, observed: str, failure: Mapping[str, Any] | None) -> Status:
    want, have = Desired(desired), Observed(observed)
    if ready(want, have):
        return "running"
    if want is Desired.RUNNING:
        return "starting"
    if active(want, have) or want is Desired.DELETED:
        return "stopping"
    return "failed" if failure else "stopped"


def server_view(
    hub: HubContext,
    user: str,
    name: str,
    *,
    display_name: str = "",
    desired: str = Desired.STOPPED,
    observed: str = Observed.STOPPED,
    failure: Mapping[str, Any] | None = None,
    started: datetime | None = None,
    last_activity: datetime | None = None,
) -> ServerView:
    """A server, existing or (the default one) not yet."""
    tail = path_tail(user, name)
    return ServerView(
        name=name,
        title=display_name or name or "Default server",
        status=status_of(desired, observed, failure),
        url=hub.addresses.server_url(user, name),
        spawn_url=f"{hub.hub_prefix}spawn/{tail}",
        pending_url=f"{hub.hub_prefix}spawn-pending/{tail}",
        stop_url=f"{hub.hub_prefix}stop/{tail}",
        delete_url=f"{hub.hub_prefix}delete/{tail}",
        started=started,
        last_activity=last_activity,
        message=str((failure or {}).get("message", "")),
    )


def view_of(hub: HubContext, user: str, row: ServerRow) -> ServerView:
    """A server that exists."""
    return server_view(
        hub,
        user,
        row.name,
        display_name=row.display_name,
        desired=row.desired,
        observed=row.observed,
        failure=row.failure,
        started=row.started,
        last_activity=row.last_activity,
    )


def path_tail(user: str, name: str) -> str:
    """`alice` or `alice/gpu`, escaped: the end of `/hub/spawn/…` and its siblings."""
    return f"{names.escape(user)}/{names.escape(name)}" if name else names.escape(user)


def with_next(url: str, next_path: str) -> str:
    """`url` with `?next=`, if there is a next."""
    return f"{url}?next={quote(next_path, safe='/')}" if next_path else url
