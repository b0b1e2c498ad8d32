"""A spawner class for configurations: servers of a `World`, in sight of every hub, as pods are.

    hub.config.JupyterHub.spawner_class: perijove.testing.simulated_spawner.SimulatedSpawner
    hub.config.SimulatedSpawner.world_url: http://127.0.0.1:…

A hub loads it as it loads KubeSpawner, and gets from it what it gets from pods: marks of server, generation and
lease epoch on everything that was started, a look at all of them, and notice of what ended.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import aiohttp
from jupyterhub.spawner import Spawner
from traitlets import Unicode

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId
from perijove.domain.ports import Found, ServerName, Volume
from perijove.plugins.watched import Watched
from perijove.testing.simulated_world import new_name

EPOCH = "simulated_epoch"
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class SimulatedSpawner(Watched, Spawner):  # type: ignore[misc]  # jupyterhub ships no types
    """One server of the world."""

    world_url = Unicode(config=True, help="Where the world is asked.")
    _run: str = ""
    _epoch: int | None = None

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._run, self._epoch = state.get("simulated_url", ""), state.get(EPOCH)

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if self._run:
            state |= {"simulated_url": self._run, EPOCH: self._epoch}
        return state

    def clear_state(self) -> None:
        super().clear_state()
        self._run, self._epoch = "", None

    async def start(self) -> str:
        marking = self.marking
        body = {
            "id": new_name(marking.hub_id, marking.server_id),
            "hub_id": marking.hub_id,
            "server_id": marking.server_id,
            "generation": marking.generation,
            "epoch": marking.epoch,
            "user": self.user.name,
            "name": self.name,
            "token": self.api_token,
            "options": self.user_options,
        }
        for _ in range(5):
            status, server = await self._ask("POST", "/servers", body)
            if status == HTTPStatus.OK:
                self._run, self._epoch = server["url"], marking.epoch
                return str(server["url"])
            if status != HTTPStatus.CONFLICT:
                raise SpawnFailed("The world refused to start the server.", reason="refused")
            # An earlier start's; a later one is somebody else's by now.
            await self._end()
        raise SpawnFailed("The server's name is taken.", reason="taken")

    async def poll(self) -> int | None:
        _, servers = await self._ask("GET", "/servers")
        mine = new_name(self.marking.hub_id, self.marking.server_id)
        return None if any(server["id"] == mine and server["url"] == self._run for server in servers) else 0

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002 - as JupyterHub calls it
        await self._end()
        self.clear_state()

    async def _end(self) -> None:
        """What was started for this server up to now. Raises `SpawnFailed` for what a later lease made."""
        name, epoch = new_name(self.marking.hub_id, self.marking.server_id), self.marking.epoch
        status, _ = await self._ask("DELETE", f"/servers/{name}?epoch={epoch}")
        if status == HTTPStatus.CONFLICT:
            raise SpawnFailed("Another hub started this server meanwhile.", reason="superseded")

    async def why_late(self) -> SpawnFailed | None:
        return None

    async def tail(self, count: int) -> tuple[str, ...]:  # noqa: ARG002 - they write nothing
        return ()

    async def sweep(self) -> None:
        await self._end()

    async def find_all(self) -> Sequence[Found]:
        return [
            Found(
                ServerId(server["server_id"]),
                server["generation"],
                f"simulated {server['id']}",
                {EPOCH: server["epoch"]},
                server["url"],
            )
            for server in await self._all()
        ]

    async def living(self) -> Mapping[str, ServerId | ServerName]:
        return {f"{server['id']} {server['url']}": ServerId(server["server_id"]) for server in await self._all()}

    async def destroy(self, found: Found) -> None:
        name = new_name(self.marking.hub_id, found.server_id)
        await self._ask("DELETE", f"/servers/{name}?epoch={found.state[EPOCH]}&exactly=1&how=destroy")

    async def volumes_of_user(self, others: Sequence[Any]) -> Sequence[Volume]:  # noqa: ARG002 - nobody has any
        return ()

    async def delete_volume(self, volume: Volume) -> None:
        raise LookupError(f"there is no volume {volume}")

    async def _all(self) -> list[dict[str, Any]]:
        _, servers = await self._ask("GET", "/servers")
        return [server for server in servers if server["hub_id"] == self.marking.hub_id]

    async def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        # No session is kept: instances come and go, and nobody tells them that a hub ends.
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(method, f"{self.world_url}{path}", json=body) as response,
        ):
            return response.status, await response.json()
