"""One user's server as the REST API shows it, for tests that hurt whoever works on it and look at what comes of it."""

from abc import abstractmethod
from http import HTTPStatus
from typing import Any


class ShownServer:
    """Mixed into what knows whom to ask."""

    user: str
    server: str

    @abstractmethod
    async def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call as the administrator: status and decoded answer."""

    @property
    def path(self) -> str:
        return f"/users/{self.user}/servers/{self.server}"

    async def model(self) -> dict[str, Any] | None:
        """None: there is no such server."""
        status, user = await self.api("GET", f"/users/{self.user}?include_stopped_servers=1")
        assert status == HTTPStatus.OK, user
        found: dict[str, Any] | None = user["servers"].get(self.server)
        return found

    async def is_ready(self) -> bool:
        found = await self.model()
        return found is not None and bool(found["ready"])

    async def is_over(self) -> bool:
        """Nothing is pending any more, and nothing runs."""
        found = await self.model()
        return found is None or bool(found["stopped"])
