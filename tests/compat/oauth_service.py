"""A service as people write them: Tornado and the stock `HubOAuth`, told everything by its environment.

With STARTS it appends its process id to that file first, so that a test can count instances over time.
With FAIL it exits at once.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, authenticated


class Whoami(HubOAuthenticated, RequestHandler):
    @authenticated
    def get(self):
        self.write(self.get_current_user())


class Environment(RequestHandler):
    def get(self):
        self.write(json.dumps({"pid": os.getpid(), "environment": dict(os.environ)}))


async def main():
    prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    handlers = [
        (f"{prefix}oauth_callback", HubOAuthCallbackHandler),
        (f"{prefix}environment", Environment),
        (f"{prefix}.*", Whoami),
    ]
    server = HTTPServer(Application(handlers, cookie_secret=os.urandom(32)))
    server.listen(url.port, url.hostname)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    if starts := os.environ.get("STARTS"):
        with Path(starts).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if os.environ.get("FAIL"):
        sys.exit(3)
    asyncio.run(main())
