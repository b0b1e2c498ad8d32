"""Configuration of the stock JupyterHub that we measure beside (read by it, not by us).

No process is started for a user and no proxy is talked to: what remains is the hub itself, which is
what our numbers are about. Anything that costs the peer time and is not needed is left out.
"""

import os

from jupyterhub.proxy import Proxy

from bench.no_spawner import NoSpawner


class NoProxy(Proxy):
    should_start = False

    def start(self):
        pass

    def stop(self):
        pass

    async def add_route(self, routespec, target, data):
        self._routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self._routes.pop(routespec, None)

    async def get_all_routes(self):
        return dict(self._routes)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._routes = {}


c = get_config()  # noqa: F821 - JupyterHub executes this file with the name defined
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = NoSpawner
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:" + os.environ["BENCH_PUBLIC_PORT"]
c.JupyterHub.hub_port = int(os.environ["BENCH_HUB_PORT"])
c.JupyterHub.db_url = "sqlite:///" + os.environ["BENCH_DATABASE"]
c.JupyterHub.cookie_secret = bytes(32)
c.JupyterHub.cleanup_servers = False
c.JupyterHub.concurrent_spawn_limit = 1000
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [
    {
        "name": "bench",
        "scopes": ["admin:users", "admin:servers", "tokens"],
        "services": ["bench"],
    }
]
