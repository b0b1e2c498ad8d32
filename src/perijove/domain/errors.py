"""Everything that can go wrong, as conditions; `web/errors.py` alone knows their HTTP statuses.

    HubError
    ├── NotFound
    ├── Conflict ── StaleGeneration
    ├── Unauthenticated
    ├── Forbidden
    ├── Invalid(field)
    ├── LimitReached(retry_after_seconds)
    ├── SpawnFailed(reason)
    └── Unavailable(retry_after_seconds)
    LeaseLost                      reconcile only; never reaches a client

A subclass's docstring is its message when none is given. The message of a `HubError` is safe to show.
"""


class HubError(Exception):
    """Something went wrong."""

    def __init__(self, message: str = "") -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)


class NotFound(HubError):
    """No such resource."""


class Conflict(HubError):
    """This already exists, or changed meanwhile."""


class StaleGeneration(Conflict):
    """The server was started or stopped by somebody else meanwhile."""


class Unauthenticated(HubError):
    """Missing or invalid credentials."""


class Forbidden(HubError):
    """Action is not authorized with current scopes."""


class Invalid(HubError):
    """The request is malformed."""

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class LimitReached(HubError):
    """A limit of this hub is reached; try again later."""

    def __init__(self, message: str = "", *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SpawnFailed(HubError):
    """The server did not start."""

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "error",
        details: str = "",
        html_message: str = "",
        status: int = 500,
    ) -> None:
        """`message` is for the user; `details` (traceback, exit code, log lines) for the admin;
        `status` is what a plug-in asked for with its own HTTP error."""
        super().__init__(message)
        self.reason = reason
        self.details = details
        self.html_message = html_message
        self.status = status


class Unavailable(HubError):
    """The hub cannot answer right now; nothing was changed."""

    def __init__(self, message: str = "", *, retry_after_seconds: int = 5) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DatabaseAway(Unavailable):
    """This hub cannot reach the database; another one may."""


class LeaseLost(Exception):
    """Another replica took over this row; drop the result."""
