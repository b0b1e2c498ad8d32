"""Configuration of the stock JupyterHub that we measure beside (read by it, not by us).

No process is started for a user, and its proxy is a process of its own, as Zero to JupyterHub has it: what remains is
the hub itself, which is what our numbers are about. Anything that costs the peer time and is not needed is left out.
"""

import os

from bench.no_spawner import NoSpawner

c = get_config()  # noqa: F821 - JupyterHub executes this file with the name defined
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ["BENCH_PROXY_API"]
c.JupyterHub.spawner_class = NoSpawner
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:" + os.environ["BENCH_PUBLIC_PORT"]
c.JupyterHub.hub_port = int(os.environ["BENCH_HUB_PORT"])
c.JupyterHub.db_url = os.environ["BENCH_DATABASE"]
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
