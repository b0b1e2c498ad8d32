# ruff: noqa: F821 - both hubs define `c`
# The configuration of both hubs: what it says is JupyterHub's, and Perijove takes it as it is.
import asyncio
import os
from typing import ClassVar

from jupyterhub.spawner import Spawner


class TinySpawner(Spawner):
    """A server is a socket in the hub's own process: it answers everything, and starts at once unless told."""

    # By user and server, for all instances.
    running: ClassVar = {}
    starting: ClassVar = set()

    @property
    def _mine(self):
        return (self.user.name, self.name)

    async def start(self):
        if self.user_options.get("fail"):
            raise RuntimeError("The stars are wrong")
        if self.user_options.get("hold"):
            self.starting.add(self._mine)
            await asyncio.Event().wait()
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        self.running[self._mine] = server
        port = server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    async def poll(self):
        return None if self._mine in self.running or self._mine in self.starting else 0

    async def stop(self, now=False):
        self.starting.discard(self._mine)
        server = self.running.pop(self._mine, None)
        if server is not None:
            server.close()


async def _answer(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        )
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # a health check that went away
    finally:
        writer.close()


c.JupyterHub.spawner_class = TinySpawner
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.named_server_limit_per_user = 4
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 3, "slow_stop_timeout": 3}
c.JupyterHub.api_page_default_limit = 3
c.JupyterHub.api_page_max_limit = 7
c.JupyterHub.load_groups = {"crew": {"users": ["ada"], "properties": {"ship": "Argo"}}, "empty": {"users": []}}
c.JupyterHub.custom_scopes = {
    "custom:grades:read": {"description": "Read grades"},
    "custom:grades:write": {"description": "Write grades", "subscopes": ["custom:grades:read"]},
}
c.JupyterHub.services = [
    {"name": "root", "api_token": os.environ["COMPAT_ROOT"]},
    {"name": "plain", "api_token": os.environ["COMPAT_PLAIN"]},
    {
        "name": "probe",
        "url": "http://127.0.0.1:9",
        "api_token": os.environ["COMPAT_PROBE"],
        "oauth_redirect_uri": "http://127.0.0.1:9/services/probe/oauth_callback",
        "oauth_client_id": "service-probe",
        "oauth_client_allowed_scopes": ["read:users:activity!user"],
        "info": {"colour": "red"},
    },
    {
        "name": "silent",
        "api_token": os.environ["COMPAT_SILENT"],
        "oauth_redirect_uri": "http://127.0.0.1:9/silent/callback",
        "oauth_client_id": "service-silent",
        "oauth_no_confirm": True,
        "display": False,
    },
]
c.JupyterHub.load_roles = [
    {
        "name": "everything",
        "scopes": [
            *("admin-ui", "admin:users", "admin:servers", "admin:services", "tokens", "admin:groups", "read:roles"),
            *("read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:metrics", "shares"),
            *("custom:grades:write",),
        ],
        "services": ["root"],
        "users": ["chief"],
    },
    {"name": "crew-watch", "description": "Sees the crew", "scopes": ["read:users!group=crew"], "groups": ["crew"]},
    {
        "name": "visits",
        "scopes": ["access:services!service=probe", "access:services!service=silent"],
        "users": ["ada", "bob"],
    },
    {"name": "sharer", "scopes": ["shares!user", "read:users:name", "read:groups:name"], "users": ["ada"]},
]
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
